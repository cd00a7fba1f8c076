"""One data file, memory-mapped for reading."""

import errno
import mmap
import os
import weakref
from pathlib import Path

import numpy as np

from detectors.buffer.layout import file_bytes
from detectors.buffer.regular import open_regular, reading
from detectors.errors import BufferReadError
from detectors.frame import FILE_MOD, FORMAT_MARKER, RECORD_HEADER, RecordShape


class BinFile:
    """A ``.bin`` file mapped read-only: nothing is read before it is used, and nothing is copied.

    Pixels are views of the map, which outlive this object. Holes are never touched through it: on a memory file system a
    look at a hole takes a page, and kills the process with SIGBUS when there is none left.
    Raises BufferReadError when it is not a regular file, cannot be mapped or is larger than a file of this detector; one that is shorter
    was cut off, and the records that remain can be read.
    """

    def __init__(self, path: Path, shape: RecordShape) -> None:
        self.path = path
        self.first_pulse = int(path.stem)
        self.full_size = file_bytes(shape)
        """Bytes of a file that was not cut off."""
        self._shape = shape
        with reading(path):
            self._fd = open_regular(path)
            weakref.finalize(self, os.close, self._fd)
            self.size = os.fstat(self._fd).st_size
            # An empty file cannot be mapped: it was just made, or its creation was interrupted.
            mapped = mmap.mmap(self._fd, self.size, access=mmap.ACCESS_READ) if self.size else b""
        if self.size > self.full_size:
            raise BufferReadError(
                f"{path}: found {self.size} bytes, expected {self.full_size} ({FILE_MOD} records of "
                f"{shape.record_bytes} and a closing byte); this is not a file of this detector"
            )
        self._bytes = np.frombuffer(mapped, np.uint8)

    @property
    def whole_records(self) -> int:
        """Places that lie within the file; FILE_MOD unless it was cut off."""
        return min(self.size // self._shape.record_bytes, FILE_MOD)

    @property
    def is_full_size(self) -> bool:
        """Whether the file has its size, closing byte included."""
        return self.size == self.full_size

    def headers(self) -> np.ndarray:
        """Return all headers, RECORD_HEADER[FILE_MOD], copied in one pass; zeros in holes and where the file is cut off."""
        out = np.zeros(FILE_MOD, RECORD_HEADER)
        n = self.whole_records
        if n:
            places = np.flatnonzero(self._in_data(np.arange(n) * self._shape.record_bytes))
            # One page a record is read; a plain array over the file would have to read all of it.
            out[places] = np.ndarray((n,), RECORD_HEADER, self._bytes, 0, (self._shape.record_bytes,))[places]
        return out

    def header(self, index: int) -> np.void:
        """Return the header of one place. Raises IndexError behind the end of a file that was cut off."""
        found = os.pread(self._fd, RECORD_HEADER.itemsize, self.offset(index))
        if len(found) < RECORD_HEADER.itemsize:
            raise IndexError(index)
        return np.frombuffer(found, RECORD_HEADER)[0]

    def data(self, index: int) -> np.ndarray:
        """Return the pixels in one place, uint8[data_bytes], a read-only view. Whether they are any is not checked."""
        start = index * self._shape.record_bytes + RECORD_HEADER.itemsize
        return self._bytes[start : start + self._shape.data_bytes]

    def torn(self, index: int) -> str:
        """Return what is wrong with the record in one place; empty for a sound one and for a hole."""
        marker = self.marker(index)
        if not marker:
            return ""
        if marker != FORMAT_MARKER:
            return f"found marker {marker:#04x}, expected {FORMAT_MARKER:#04x}"
        if index >= self.whole_records:
            there = self.size - self.offset(index)
            return f"the file ends {there} bytes into the record, expected {self._shape.record_bytes} bytes"
        found = int(self.header(index)["frame"]["pulse_id"])
        if found != self.first_pulse + index:
            return f"found pulse_id {found}, expected {self.first_pulse + index} at this place"
        return ""

    def holds(self, index: int) -> bool:
        """Return whether a place holds a record: its marker is there."""
        return self.marker(index) == FORMAT_MARKER

    def marker(self, index: int) -> int:
        """Return the first byte of a place; 0 behind the end of a file that was cut off."""
        return int.from_bytes(os.pread(self._fd, 1, self.offset(index)))

    def offset(self, index: int) -> int:
        """Return where the record of a place starts, bytes."""
        return index * self._shape.record_bytes

    @property
    def closing_byte(self) -> int | None:
        """The byte behind the last record; None when the file is too short to have it."""
        return os.pread(self._fd, 1, self.size - 1)[0] if self.is_full_size else None

    def _in_data(self, offsets: np.ndarray) -> np.ndarray:
        """Return for each offset whether it lies in a part of the file that is not a hole."""
        edges: list[int] = []
        end = 0
        while (start := self._seek(end, os.SEEK_DATA)) is not None:
            end = self._seek(start, os.SEEK_HOLE) or self.size
            edges += [start, end]
        # Between a start and its end an odd number of edges is not above the offset.
        return np.searchsorted(np.array(edges, np.int64), offsets, side="right") % 2 == 1

    def _seek(self, offset: int, whence: int) -> int | None:
        try:
            return os.lseek(self._fd, offset, whence)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return None  # nothing but holes, or the end, from here on
            raise
