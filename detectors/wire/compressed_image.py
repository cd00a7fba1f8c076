"""A compressed image as it lies in a slot of shared memory: the header of its message, then the data of it. Pure.

Who reads it may see bytes that change meanwhile, and finds out afterwards: lengths are checked before they are used.
"""

import struct
from typing import Final, NamedTuple

import numpy as np

from detectors.wire.bslz4 import chunk_bound

COMPRESSION: Final = "bslz4"
"""What the images are compressed with, as the configuration names it."""

_LENGTHS: Final = struct.Struct("<QQQ")
"""When it was made, on the monotonic clock, ns; bytes of the header, and of the data."""

_HEADER_BYTES: Final = 16 << 10
"""Room for a header: two paths are the most of it."""


class CompressedImage(NamedTuple):
    """What is read from a slot."""

    made_ns: int
    """When it was made, on the monotonic clock of the host."""
    header: bytes
    """The first part of its message in the full stream."""
    chunk: np.ndarray
    """The second part: a chunk of HDF5's bitshuffle filter, uint8."""


def slot_room(pixels: int, itemsize: int) -> int:
    """Return the bytes of a slot for images of so many pixels, whatever is in them."""
    return _LENGTHS.size + _HEADER_BYTES + chunk_bound(pixels, itemsize)


def chunk_start(header: bytes) -> int:
    """Return where the data begins in a slot with this header."""
    assert len(header) <= _HEADER_BYTES
    return _LENGTHS.size + len(header)


def put_header(slot: np.ndarray, header: bytes, chunk_bytes: int, made_ns: int) -> None:
    """Complete a slot (uint8) that has the data in its place already."""
    _LENGTHS.pack_into(slot.data, 0, made_ns, len(header), chunk_bytes)
    slot[_LENGTHS.size : chunk_start(header)] = np.frombuffer(header, np.uint8)


def copy_image(slot: np.ndarray, out: np.ndarray | None = None) -> CompressedImage | None:
    """Return a copy of what is in a slot, the data at the start of ``out`` (uint8) if given; None when it does not fit there."""
    made_ns, header_bytes, chunk_bytes = _LENGTHS.unpack_from(slot.data)
    start = _LENGTHS.size + header_bytes
    if start + chunk_bytes > slot.nbytes or (out is not None and chunk_bytes > out.nbytes):
        return None
    chunk = np.empty(chunk_bytes, np.uint8) if out is None else out[:chunk_bytes]
    np.copyto(chunk, slot[start : start + chunk_bytes])
    return CompressedImage(made_ns, slot[_LENGTHS.size : start].tobytes(), chunk)
