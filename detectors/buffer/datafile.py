"""One data file that is being written: whole sectors straight from the pebble slot, nothing copied.

A record is 41 bytes and the pixels, so records do not start on sectors. With O_DIRECT a record is written together with
the rest of its first and last sector: in front lies the end of the record before it, behind the start of the next one.
So every record is complete on disk after its one write, and the file can be read while it grows.
"""

import errno
import fcntl
import itertools
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from detectors.buffer.layout import file_bytes
from detectors.frame import CLOSING_BYTE, FILE_MOD, FORMAT_MARKER, RecordShape

log = logging.getLogger(__name__)

_UNKNOWN, _ABSENT, _PRESENT = 0, 1, 2


class DataFile:
    """A ``.bin`` file, made with its folder and at its full (sparse) size if it is not there.

    ``direct`` asks for O_DIRECT; where the file system refuses, ``direct`` becomes False and writes are buffered.
    For one thread. Raises OSError.
    """

    def __init__(self, path: Path, shape: RecordShape, *, direct: bool) -> None:
        self.path = path
        self.direct = direct
        self._shape = shape
        self._size = file_bytes(shape)
        # Whole sectors end here: behind it there is no room for a last sector of ours, the file has to keep its size.
        self._direct_end = self._size // shape.align * shape.align
        self._zeros = bytes(shape.align)
        # The last sector as it was last written, for the record that follows; -1: not known.
        self._edge = bytearray(shape.align)
        self._edge_offset = -1
        self._fd = self._direct_fd = -1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except OSError as error:
            self.close()
            error.filename = str(path)
            raise

    def _open(self) -> None:
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
        with suppress(OSError):
            # Shows retention and repair, in other processes, that the file is in use; some file systems have no locks.
            fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        size = os.fstat(self._fd).st_size
        if size > self._size:
            raise OSError(errno.EFBIG, f"holds {size} bytes, expected {self._size}: it is not a file of this detector")
        self._known = bytearray([_UNKNOWN if size else _ABSENT]) * FILE_MOD
        if size < self._size:
            # Gives the file its size at once: direct writes that extend a file are serialised by the kernel.
            try:
                os.pwrite(self._fd, bytes([CLOSING_BYTE]), self._size - 1)
            except OSError:
                if not size:
                    self.path.unlink()
                raise
        if self.direct:
            try:
                self._direct_fd = os.open(self.path, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._go_buffered()

    def present(self, index: int) -> bool:
        """Return whether the file holds a record in place ``index``."""
        if self._known[index] == _UNKNOWN:
            marker = os.pread(self._fd, 1, index * self._shape.record_bytes)
            self._known[index] = _PRESENT if marker == bytes([FORMAT_MARKER]) else _ABSENT
        return self._known[index] == _PRESENT

    def write(self, span: memoryview, place: int, offset: int) -> None:
        """Write one record. ``span`` holds it, ``place`` bytes in, and belongs to file offset ``offset``.

        ``span`` is whole, aligned sectors of writable memory around the record; what is not the record is overwritten.
        Raises OSError; then the record is marked as a hole as far as the disk still allows.
        """
        index = (offset + place) // self._shape.record_bytes
        try:
            if self._direct_fd < 0 or not self._write_direct(span, place, offset):
                end = place + self._shape.record_bytes
                _write_all(self._fd, span[place:end], offset + place)
                self._edge_offset = -1
        except OSError as error:
            self._mark_hole(index)
            error.filename = str(self.path)
            raise
        self._known[index] = _PRESENT

    def write_run(self, spans: Sequence[tuple[memoryview, int, int]]) -> bool:
        """Write records that follow each other, none of them there yet, with one call; ``spans`` are as for ``write``.

        False when that did not work: then ``write`` each.
        """
        if self._direct_fd < 0 or self._shape.record_bytes < self._shape.align:
            return False
        (span, place, offset), (last, last_place, last_offset) = spans[0], spans[-1]
        end = last_offset + last_place + self._shape.record_bytes
        stop = last_offset + len(last)
        if stop > self._direct_end:
            return False
        self._fill_head(span, place, offset)
        parts: list[memoryview] = []
        for (before, _, start), (after, begin, middle) in itertools.pairwise(spans):
            # The sector that two records share is written from the memory of the later one.
            shared = middle - start
            after[:begin] = before[shared : shared + begin]
            parts.append(before[:shared])
        self._fill(last[end - last_offset :], end)
        parts.append(last)
        try:
            wrote = os.pwritev(self._direct_fd, parts, offset)
        except OSError:
            wrote = 0
        if wrote != stop - offset:
            self._edge_offset = -1
            return False
        self._keep_edge(last, stop)
        first = (offset + place) // self._shape.record_bytes
        self._known[first : first + len(spans)] = bytes([_PRESENT]) * len(spans)
        return True

    def is_in_place(self) -> bool:
        """Return whether the file is still the one of its name: one that was removed would swallow every write."""
        try:
            there, ours = self.path.stat(), os.fstat(self._fd)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def sync(self) -> None:
        """Wait until everything written is on the disk. Raises OSError, also for what failed since the last time."""
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            error.filename = str(self.path)
            raise

    def close(self) -> None:
        """Close the descriptors. Idempotent. Raises OSError, with both closed."""
        direct_fd, fd, self._direct_fd, self._fd = self._direct_fd, self._fd, -1, -1
        try:
            if direct_fd >= 0:
                os.close(direct_fd)
        finally:
            if fd >= 0:
                os.close(fd)

    def _write_direct(self, span: memoryview, place: int, offset: int) -> bool:
        """Write whole sectors, and by an ordinary write what lies behind the last; False where that is refused."""
        record_end = offset + place + self._shape.record_bytes
        end = min(offset + len(span), self._direct_end)
        if end <= offset:
            return False
        self._fill_head(span, place, offset)
        self._fill(span[record_end - offset : end - offset], record_end)
        try:
            _write_all(self._direct_fd, span[: end - offset], offset, self._shape.align)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._go_buffered()
            return False
        if record_end > end:
            _write_all(self._fd, span[end - offset : record_end - offset], end)
        self._keep_edge(span[: end - offset], end)
        return True

    def _fill_head(self, span: memoryview, place: int, offset: int) -> None:
        """Fill what lies before a record in its first sector."""
        if offset == self._edge_offset:
            span[:place] = self._edge[:place]
        else:
            self._fill(span[:place], offset)

    def _keep_edge(self, span: memoryview, end: int) -> None:
        """Remember the last sector of ``span``, which was written up to file offset ``end``."""
        align = self._shape.align
        self._edge[:] = span[-align:]
        self._edge_offset = end - align

    def _fill(self, part: memoryview, offset: int) -> None:
        """Fill ``part`` with what the file holds at ``offset``: zeros, without a look, when no record lies there."""
        if not part:
            return
        first = offset // self._shape.record_bytes
        last = min((offset + len(part) - 1) // self._shape.record_bytes, FILE_MOD - 1)
        if not any(self.present(index) for index in range(first, last + 1)):
            part[:] = self._zeros[: len(part)]
        elif os.preadv(self._fd, [part], offset) != len(part):
            raise OSError(errno.EIO, f"cannot read {len(part)} bytes at {offset} back")

    def _mark_hole(self, index: int) -> None:
        self._edge_offset = -1
        self._known[index] = _UNKNOWN
        try:
            if self.present(index):
                os.pwrite(self._fd, b"\0", index * self._shape.record_bytes)
                self._known[index] = _ABSENT
        except OSError as error:
            # Nothing more can be done; the CRC in the sidecar is missing or does not agree.
            log.error("%s: record %d may be torn: %s", self.path, index, error.strerror)  # noqa: TRY400

    def _go_buffered(self) -> None:
        if self._direct_fd >= 0:
            os.close(self._direct_fd)
        self._direct_fd = -1
        self.direct = False
        log.warning("%s: the file system refuses direct writes; writing through the page cache", self.path)


def _write_all(fd: int, data: memoryview, offset: int, align: int = 1) -> None:
    """Write all of ``data``, in several calls where the kernel takes less than it is given."""
    done = 0
    while done < len(data):
        wrote = os.pwrite(fd, data[done:], offset + done) // align * align
        if not wrote:
            raise OSError(errno.EIO, f"wrote {done} of {len(data)} bytes at {offset}")
        done += wrote
