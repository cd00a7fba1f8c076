"""Bitshuffle + LZ4, through the library inside hdf5plugin.

A stream is a run of blocks, each a big-endian uint32 length and that many bytes of LZ4; behind them the last
``n % 8`` elements lie uncompressed. Source: bitshuffle.h. The library is told how much to write but not how much there
is to read, so the lengths are followed here before it may look at them.
"""

import ctypes
import functools
import struct
from pathlib import Path
from typing import Any, Final

import numpy as np

from detectors.errors import WireError

_HDF5_HEADER: Final = struct.Struct(">QI")  # bytes decompressed, bytes in a block: in front of an HDF5 chunk
_LENGTH: Final = struct.Struct(">I")

_ELEMENTS: Final = 8
"""Bits are transposed over this many elements; block sizes are multiples of it."""

_TARGET_BYTES: Final = 8192
_LEAST_ELEMENTS: Final = 128


def decode_bslz4(data: np.ndarray, out: np.ndarray, itemsize: int) -> None:
    """Fill ``out`` (uint8) with the elements of ``itemsize`` bytes that ``data`` (uint8) holds.

    Raises WireError when the blob is corrupt or holds another number of bytes.
    """
    block = _default_block(itemsize)
    if data.nbytes >= _HDF5_HEADER.size:
        nbytes, block_bytes = _HDF5_HEADER.unpack_from(data.data)
        if nbytes == out.nbytes:
            data = data[_HDF5_HEADER.size :]
            block = block_bytes // itemsize or block
    if block % _ELEMENTS or block * itemsize > max(out.nbytes, _TARGET_BYTES * 2):
        raise WireError(f"bslz4: found blocks of {block} elements, expected a multiple of 8 within the array")
    elements = out.nbytes // itemsize
    _check_lengths(data, elements, itemsize, block)
    data = np.ascontiguousarray(data)
    done = _library().bshuf_decompress_lz4(data.ctypes.data, out.ctypes.data, elements, itemsize, block)
    if done != data.nbytes:
        raise WireError(f"bslz4: found {data.nbytes} bytes that do not decode (bitshuffle returned {done})")


def _check_lengths(data: np.ndarray, elements: int, itemsize: int, block: int) -> None:
    """Follow the blocks' lengths to the end of ``data``. Raises WireError where they leave it."""
    whole, rest = divmod(elements, block)
    blocks = whole + (rest >= _ELEMENTS)
    view, end, at, length = data.data, data.nbytes, 0, _LENGTH.unpack_from
    for number in range(blocks):
        if at + _LENGTH.size > end:
            raise WireError(f"bslz4: found {number} blocks in {end} bytes, expected {blocks}")
        at += _LENGTH.size + length(view, at)[0]
    at += elements % _ELEMENTS * itemsize
    if at != end:
        raise WireError(f"bslz4: found {end} bytes, expected the {at} that its blocks name")


def _default_block(itemsize: int) -> int:
    """Return the elements of a block when nobody said: bitshuffle's own rule."""
    return max(_TARGET_BYTES // itemsize // _ELEMENTS * _ELEMENTS, _LEAST_ELEMENTS)


@functools.cache
def _library() -> Any:
    """Load bitshuffle from hdf5plugin; calls through ctypes release the GIL."""
    import hdf5plugin

    library = ctypes.CDLL(str(next(Path(hdf5plugin.PLUGIN_PATH).glob("libh5bshuf*"))))
    function = library.bshuf_decompress_lz4
    function.restype = ctypes.c_int64
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_size_t]
    return library
