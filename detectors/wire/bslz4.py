"""Bitshuffle + LZ4, as areaDetector's codec "bslz4" and as chunks of HDF5's bitshuffle filter.

A stream is a run of blocks, each a big-endian uint32 length and that many bytes of LZ4; behind them the last ``n % 8``
elements lie uncompressed. An HDF5 chunk has a header in front. Source: bitshuffle.h.

Both steps work outside the GIL, while HDF5 compresses under its global lock (1.5 to 1.9 times as fast on two processors, see
docs/reference/benchmarks.md). The library inside hdf5plugin's filter, called through ctypes, transposes the bits of a whole image. Its LZ4
looks for matches at every byte, mostly in vain in the noise of the lowest bits, and cannot be told not to. So LZ4 is imagecodecs':
its HDF5 chunks of LZ4 have the same header and the same lengths in front of the blocks, and it takes an acceleration.
"""

import ctypes
import functools
import struct
from pathlib import Path
from typing import Any, Final

import numpy as np

from detectors.errors import WireError
from detectors.extras import hdf5_filters, image_codecs
from detectors.thread_memory import ThreadMemory

CHUNK_HEADER: Final = struct.Struct(">QI")
"""In front of an HDF5 chunk: bytes decompressed, bytes in a block."""

_LENGTH: Final = struct.Struct(">I")

_ELEMENTS: Final = 8
"""Bits are transposed over this many elements; block sizes are multiples of it."""

_SMALL_BLOCK: Final = 16384
"""Blocks up to this size, bytes, may be larger than the array; the library's usual ones have 8192."""


_ACCELERATION: Final = 8
"""Of LZ4: images of photons (2.4 bits a pixel) take a sixth less time and 3 % more room than with 1, the library's usual."""


def chunk_bound(elements: int, itemsize: int) -> int:
    """Return the most bytes that so many elements can have as an HDF5 chunk."""
    library = _library()
    block = library.bshuf_default_block_size(itemsize)
    return CHUNK_HEADER.size + library.bshuf_compress_lz4_bound(elements, itemsize, block)


def encode_bslz4(image: np.ndarray) -> memoryview:
    """Return ``image`` (contiguous) as an HDF5 chunk; the plain stream follows the CHUNK_HEADER."""
    return Bslz4Encoder().encode(image)


class Bslz4Encoder:
    """Makes HDF5 chunks of images. For any thread: each keeps the memory that it needs."""

    def __init__(self) -> None:
        self._shuffled, self._chunk = ThreadMemory(), ThreadMemory()

    def encode(self, image: np.ndarray) -> memoryview:
        """Return ``image`` (contiguous) as an HDF5 chunk."""
        out = self._chunk.take(chunk_bound(image.size, image.itemsize))
        return out[: self.encode_into(image, out)].copy().data

    def encode_into(self, image: np.ndarray, out: np.ndarray) -> int:
        """Put ``image`` (contiguous) as an HDF5 chunk into ``out`` (uint8, of ``chunk_bound`` bytes or more), and return its bytes."""
        library = _library()
        elements, itemsize = image.size, image.itemsize
        block, bound = library.bshuf_default_block_size(itemsize), chunk_bound(elements, itemsize)
        assert out.nbytes >= bound, f"found room for {out.nbytes} bytes, expected {bound}"
        count = self._encode(image, out[:bound], block)
        if count is None:
            target = out.ctypes.data + CHUNK_HEADER.size
            count = library.bshuf_compress_lz4(image.ctypes.data, target, elements, itemsize, block)
            assert count >= 0, f"bitshuffle returned {count}"
        CHUNK_HEADER.pack_into(out.data, 0, image.nbytes, block * itemsize)
        return CHUNK_HEADER.size + count

    def _encode(self, image: np.ndarray, out: np.ndarray, block: int) -> int | None:
        """Put the stream behind the room for its header, and return its bytes; None when not every block becomes smaller."""
        shuffled = self._shuffled.take(image.nbytes)
        source, target = image.ctypes.data, shuffled.ctypes.data
        done = _library().bshuf_bitshuffle(source, target, image.size, image.itemsize, block)
        assert done == image.nbytes, f"bitshuffle returned {done}"
        in_blocks, block_bytes = image.size // _ELEMENTS * _ELEMENTS * image.itemsize, block * image.itemsize
        if not in_blocks:
            return None
        chunk = image_codecs().lz4h5_encode(shuffled[:in_blocks], level=_ACCELERATION, blocksize=block_bytes, out=out)
        if _has_plain_block(chunk, in_blocks, block_bytes):
            return None
        rest = shuffled[in_blocks:]
        out[chunk.nbytes : chunk.nbytes + rest.nbytes] = rest
        return chunk.nbytes + rest.nbytes - CHUNK_HEADER.size


def _has_plain_block(chunk: np.ndarray, nbytes: int, block_bytes: int) -> bool:
    """Return whether a block of a chunk of LZ4 is not compressed, which its length says, and which bitshuffle does not know."""
    view, at, size, length = chunk.data, CHUNK_HEADER.size, 0, _LENGTH.unpack_from
    while at < len(view):
        size = length(view, at)[0]
        if size == block_bytes:
            return True
        at += _LENGTH.size + size
    return size == nbytes % block_bytes


def decode_bslz4(data: np.ndarray, out: np.ndarray, itemsize: int) -> np.ndarray:
    """Fill ``out`` (uint8), and return it, with the elements of ``itemsize`` bytes in ``data`` (uint8), a stream or an HDF5 chunk.

    Raises WireError when ``data`` is corrupt or holds another number of bytes.
    """
    library = _library()
    block = library.bshuf_default_block_size(itemsize)
    if data.nbytes >= CHUNK_HEADER.size:
        nbytes, block_bytes = CHUNK_HEADER.unpack_from(data.data)
        if nbytes == out.nbytes:
            data = data[CHUNK_HEADER.size :]
            block = block_bytes // itemsize or block
    if block % _ELEMENTS or block * itemsize > max(out.nbytes, _SMALL_BLOCK):
        raise WireError(f"bslz4: found blocks of {block} elements, expected a multiple of 8 within the array")
    elements = out.nbytes // itemsize
    _check_lengths(data, elements, itemsize, block)
    data = np.ascontiguousarray(data)
    done = library.bshuf_decompress_lz4(data.ctypes.data, out.ctypes.data, elements, itemsize, block)
    if done != data.nbytes:
        raise WireError(f"bslz4: found {data.nbytes} bytes that do not decode (bitshuffle returned {done})")
    return out


def _check_lengths(data: np.ndarray, elements: int, itemsize: int, block: int) -> None:
    """Follow the blocks' lengths to the end of ``data``, which the library does not know. Raises WireError."""
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


@functools.cache
def _library() -> Any:
    library = ctypes.CDLL(str(next(Path(hdf5_filters().PLUGIN_PATH).glob("libh5bshuf.*"))))
    size, pointer = ctypes.c_size_t, ctypes.c_void_p
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "bshuf_default_block_size": (size, [size]),
        "bshuf_compress_lz4_bound": (size, [size, size, size]),
        "bshuf_bitshuffle": (ctypes.c_int64, [pointer, pointer, size, size, size]),
        "bshuf_compress_lz4": (ctypes.c_int64, [pointer, pointer, size, size, size]),
        "bshuf_decompress_lz4": (ctypes.c_int64, [pointer, pointer, size, size, size]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
