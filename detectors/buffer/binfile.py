"""One data file, memory-mapped for reading."""

import mmap
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detectors.buffer.layout import file_bytes
from detectors.errors import BufferReadError
from detectors.frame import FILE_MOD, FORMAT_MARKER, RECORD_HEADER, RecordShape


@dataclass(frozen=True, slots=True)
class Torn:
    """Why a place that should hold a record holds none."""

    reason: str


class BinFile:
    """A ``.bin`` file mapped read-only: nothing is read before it is looked at, and nothing is copied.

    Views outlive ``close``. Raises BufferReadError when the file cannot be mapped or is larger than a file of this
    detector; one that is shorter was cut off, and the records that remain can be read.
    """

    def __init__(self, path: Path, shape: RecordShape) -> None:
        self.path = path
        self.first_pulse = _number(path)
        self._shape = shape
        try:
            with path.open("rb") as file:
                self.size = file.seek(0, 2)
                # An empty file cannot be mapped: it was just made, or its creation was interrupted.
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if self.size else b""
        except OSError as error:
            raise BufferReadError(f"{path}: cannot be read: {error.strerror}") from None
        if self.size > file_bytes(shape):
            raise BufferReadError(
                f"{path}: found {self.size} bytes, expected {file_bytes(shape)} ({FILE_MOD} records of "
                f"{shape.record_bytes} and a closing byte); this is no file of this detector"
            )
        self._bytes = np.frombuffer(self._map, np.uint8) if self.size else np.zeros(0, np.uint8)

    @property
    def whole_records(self) -> int:
        """Places that lie within the file; FILE_MOD unless it was cut off."""
        return min(self.size // self._shape.record_bytes, FILE_MOD)

    @property
    def is_full_size(self) -> bool:
        """Whether the file has its size, closing byte included."""
        return self.size == file_bytes(self._shape)

    def headers(self) -> np.ndarray:
        """Return all headers, RECORD_HEADER[FILE_MOD], copied in one pass; zeros, as in holes, where the file is cut off."""
        out = np.zeros(FILE_MOD, RECORD_HEADER)
        n = self.whole_records
        if n:
            _advise_random(self._map)
            # One page per record is looked at: without the view the whole file would have to be read.
            out[:n] = np.ndarray((n,), RECORD_HEADER, self._bytes, 0, (self._shape.record_bytes,))
        return out

    def header(self, index: int) -> np.void:
        """Return the header of one place, copied. Raises IndexError behind the end of a file that was cut off."""
        start = index * self._shape.record_bytes
        if start + RECORD_HEADER.itemsize > self.size:
            raise IndexError(index)
        return np.frombuffer(self._bytes, RECORD_HEADER, 1, start)[0].copy()

    def data(self, index: int) -> np.ndarray:
        """Return the pixels in one place, uint8[data_bytes], a read-only view. Whether they are any is not checked."""
        start = index * self._shape.record_bytes + RECORD_HEADER.itemsize
        return self._bytes[start : start + self._shape.data_bytes]

    def torn(self, index: int) -> Torn | None:
        """Return what is wrong with one place by itself; None for a sound record and for a hole."""
        start = index * self._shape.record_bytes
        if start >= self.size or not self._bytes[start]:
            return None
        marker = int(self._bytes[start])
        if marker != FORMAT_MARKER:
            return Torn(f"found marker {marker:#04x}, expected {FORMAT_MARKER:#04x}")
        if index >= self.whole_records:
            return Torn(
                f"the file ends {self.size - start} bytes into the record, expected {self._shape.record_bytes} bytes"
            )
        found = int(self.header(index)["frame"]["pulse_id"])
        if found != self.first_pulse + index:
            return Torn(f"found pulse_id {found}, expected {self.first_pulse + index} at this place")
        return None

    def holds(self, index: int) -> bool:
        """Return whether a place holds a record: its marker is there."""
        start = index * self._shape.record_bytes
        return start < self.size and int(self._bytes[start]) == FORMAT_MARKER

    def offset(self, index: int) -> int:
        """Return where the record of a place starts, bytes."""
        return index * self._shape.record_bytes

    @property
    def closing_byte(self) -> int | None:
        """The byte behind the last record; None when the file is too short to have it."""
        return int(self._bytes[-1]) if self.is_full_size else None


def _number(path: Path) -> int:
    try:
        return int(path.stem)
    except ValueError:
        raise BufferReadError(f"{path}: found a name that is no number, expected the first pulse of the file") from None


def _advise_random(mapped: mmap.mmap | bytes) -> None:
    if isinstance(mapped, mmap.mmap):
        mapped.madvise(mmap.MADV_RANDOM)
