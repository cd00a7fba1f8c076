"""The sidecar ``<file>.meta``: what the documented record has no place for, 128 bytes per pulse.

Times, damage, missing packets and the CRC32C of the pixels. The file begins with a header of 128 bytes; the entry of a pulse
is at ``(1 + pulse_id % FILE_MOD) * 128``. Files of version 1 have no header, and 64 bytes per pulse.
"""

import errno
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
from crc32c import crc32c

from detectors.buffer.atomic import write_atomically
from detectors.frame import (
    FILE_MOD,
    FRAME_HEAD,
    MISSING_MASK_BYTES,
    MODULE_FRAME,
    SIDECAR,
    SIDECAR_HAS_CRC,
    SIDECAR_PRESENT,
    FrameHead,
)

FLUSH_EVERY: Final = 64
"""Entries held back before they are written: two pages, and no system call per frame."""

MAGIC: Final = b"PEBMETA\xff"
"""First bytes of the header: read as the pulse_id that a file of version 1 begins with, no pulse has its highest bit."""

VERSION: Final = 2

_HEADER: Final = struct.Struct("<8sII")
"""Magic, version, bytes of an entry; zeros follow."""

_ENTRY: Final = struct.Struct(f"<QQQIIII{MISSING_MASK_BYTES}s24x")
"""SIDECAR once more: packing one entry this way takes a microsecond, field by field through numpy ten."""
assert _ENTRY.size == SIDECAR.itemsize

_V1: Final = np.dtype(
    [
        ("pulse_id", "<u8"),
        ("timestamp_ns", "<u8"),
        ("damage", "<u4"),
        ("crc32c", "<u4"),
        ("expected_packets", "<u4"),
        ("flags", "<u4"),
        ("missing", "u1", (32,)),
    ]
)
"""An entry of version 1: its mask has the first 256 packets, its time is that of the frame's arrival."""
assert _V1.itemsize == 64


def read_sidecar(path: Path, first: int = 0, count: int = FILE_MOD) -> np.ndarray:
    """Return entries of a sidecar, SIDECAR[count], in memory; zeros where it has none, or is not there.

    Raises OSError, also for a version that is not known.
    """
    try:
        # A FIFO of that name must not block.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return np.zeros(count, SIDECAR)
    try:
        return _entries(fd, path, first, count)
    finally:
        os.close(fd)


def read_entry(path: Path, index: int) -> np.void | None:
    """Return one entry of a sidecar, SIDECAR; None when it has none (yet), or is not there. Raises as ``read_sidecar``."""
    entry = read_sidecar(path, index, 1)[0]
    return entry if entry["flags"] & SIDECAR_PRESENT else None


def clear_entries(path: Path, places: Iterable[int]) -> None:
    """Write, and wait until it is on the disk, that a sidecar has no entries in these places. Raises OSError."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        stored = _stored(fd, path)
        for index in places:
            os.pwrite(fd, bytes(stored.itemsize), _offset(stored, index))
        os.fsync(fd)
    finally:
        os.close(fd)


def _stored(fd: int, path: Path) -> np.dtype:
    """Return the type of a file's entries: SIDECAR or that of version 1."""
    head = os.pread(fd, _HEADER.size, 0)
    if len(head) < _HEADER.size or not head[7] & 0x80:
        return _V1
    magic, version, entry_bytes = _HEADER.unpack(head)
    if (magic, version, entry_bytes) != (MAGIC, VERSION, SIDECAR.itemsize):
        raise OSError(errno.EINVAL, f"found a sidecar of version {version}, expected 1 or {VERSION}", str(path))
    return SIDECAR


def _offset(stored: np.dtype, index: int) -> int:
    return (index + (stored is SIDECAR)) * stored.itemsize


def _entries(fd: int, path: Path, first: int, count: int) -> np.ndarray:
    stored = _stored(fd, path)
    found = os.pread(fd, count * stored.itemsize, _offset(stored, first))
    entries = np.frombuffer(bytearray(found.ljust(count * stored.itemsize, b"\0")), stored)
    if stored is SIDECAR:
        return entries
    out = np.zeros(count, SIDECAR)
    same = [name for name in _V1.names or () if name != "missing"]
    out[same] = entries[same]
    out["missing"][:, : entries["missing"].shape[1]] = entries["missing"]
    return out


def frame_heads(frames: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """Return FRAME_HEAD[FILE_MOD] from the MODULE_FRAMEs and the SIDECAR of one file.

    A frame without an entry should have as many packets as any frame of the file.
    """
    known = (entries["flags"] & SIDECAR_PRESENT) != 0
    heads = np.zeros(len(frames), FRAME_HEAD)
    for name in MODULE_FRAME.names or ():
        heads[name] = frames[name]
    for name in ("timestamp_ns", "detector_time", "damage", "missing"):
        heads[name][known] = entries[name][known]
    heads["expected_packets"] = np.where(known, entries["expected_packets"], frames["n_recv_packets"].max())
    return heads


class SidecarFile:
    """A sidecar that is being written; entries are held in memory and written in runs. For one thread. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # As in the file: the header first.
        self._image = np.zeros(1 + FILE_MOD, SIDECAR)
        self._entries = self._image[1:]
        self._bytes = self._image.view(np.uint8).data
        _HEADER.pack_into(self._bytes, 0, MAGIC, VERSION, SIDECAR.itemsize)
        self.discard()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
        try:
            self._begin()
        except OSError:
            os.close(self._fd)
            raise

    def _begin(self) -> None:
        """Read what is there, and bring a file of version 1 into the present one."""
        if not os.fstat(self._fd).st_size:
            self._first = -1  # the header goes with the first entries
            return
        old = _stored(self._fd, self.path) is not SIDECAR
        self._entries[:] = _entries(self._fd, self.path, 0, FILE_MOD)
        if old:
            write_atomically(self.path, bytes(self._bytes), sync=True)
            os.close(self._fd)
            self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)

    def put(self, head: FrameHead, data: memoryview | None) -> None:
        """Hold the entry of one frame; written by the next flush, after FLUSH_EVERY at the latest.

        ``data``: the pixels; None for an entry without a CRC of them.
        """
        index = head.pulse_id % FILE_MOD
        _ENTRY.pack_into(
            self._bytes,
            (1 + index) * SIDECAR.itemsize,
            head.pulse_id,
            head.timestamp_ns,
            head.detector_time,
            head.damage,
            0 if data is None else crc32c(data),
            head.expected_packets,
            SIDECAR_PRESENT if data is None else SIDECAR_PRESENT | SIDECAR_HAS_CRC,
            head.missing,
        )
        self._touch(index)
        if self._dirty >= FLUSH_EVERY:
            self.flush()

    def forget(self, index: int) -> None:
        """Write at once that there is no entry: a record about to be replaced must not meet the CRC of the old one."""
        if self._entries[index]["flags"]:
            self._entries[index] = np.zeros((), SIDECAR)
            self._touch(index)
            self.flush()

    def flush(self) -> None:
        """Write the entries held back."""
        if not self._dirty:
            return
        size = SIDECAR.itemsize
        start, stop = (1 + self._first) * size, (2 + self._last) * size
        while start < stop:
            start += os.pwrite(self._fd, self._bytes[start:stop], start)
        self.discard()

    def sync(self) -> None:
        """Flush, and wait until everything written is on the disk."""
        self.flush()
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Flush and close. Idempotent."""
        if self._fd >= 0:
            try:
                self.flush()
            finally:
                os.close(self._fd)
                self._fd = -1

    def _touch(self, index: int) -> None:
        self._first, self._last = min(self._first, index), max(self._last, index)
        self._dirty += 1

    def discard(self) -> None:
        """Drop the entries held back."""
        self._first, self._last, self._dirty = FILE_MOD, -1, 0
