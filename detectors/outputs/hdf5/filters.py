"""Chunks compressed by ourselves, in the formats of HDF5's filters, so that all processors can work at once.

HDF5 compresses inside its one global lock. The libraries called here let other threads run; any HDF5 with the usual
plugins reads the chunks back. Sources: bitshuffle's and Blosc's HDF5 filters.
"""

import ctypes
import functools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from detectors.errors import ConfigError

Chunk = bytes | bytearray | memoryview
Encode = Callable[[np.ndarray], Chunk]

_BSLZ4_HEADER: Final = struct.Struct(">QI")
"""In front of a bitshuffle chunk: bytes decompressed, bytes in a block."""

_BLOSC_LEVEL: Final = 5
_BLOSC_MAX_BYTES: Final = 2**31 - 33
"""Largest chunk that Blosc takes: INT_MAX less its header and one."""


@dataclass(frozen=True, slots=True)
class Compression:
    """One way to store a chunk."""

    name: str
    encode: Encode | None = None
    """Turns an image (contiguous, any dtype) into a chunk; None: stored as it is. Thread-safe, outside the GIL."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of ``create_dataset``."""


def compression(name: str, chunk_bytes: int) -> Compression:
    """Return a compression by name: ``none``, ``bslz4`` or ``blosc``, for chunks of ``chunk_bytes``.

    Raises ConfigError for another name, or a chunk that is too large for it.
    """
    if name == "none":
        return Compression("none")
    if name not in ("bslz4", "blosc"):
        raise ConfigError(f"compression: found {name!r}, expected one of none, bslz4, blosc")
    if chunk_bytes > _BLOSC_MAX_BYTES:
        raise ConfigError(
            f"compression: found images of {chunk_bytes:,} bytes, {name} takes at most {_BLOSC_MAX_BYTES:,}; use none"
        )
    import hdf5plugin

    if name == "bslz4":
        return Compression(name, encode_bslz4, hdf5plugin.Bitshuffle(cname="lz4"))
    return Compression(
        name, encode_blosc, hdf5plugin.Blosc(cname="lz4", clevel=_BLOSC_LEVEL, shuffle=hdf5plugin.Blosc.SHUFFLE)
    )


def encode_bslz4(image: np.ndarray) -> memoryview:
    """Return the bitshuffle-LZ4 chunk of an image (contiguous)."""
    library = _bitshuffle()
    elements, itemsize = image.size, image.itemsize
    block = library.bshuf_default_block_size(itemsize)
    out = np.empty(_BSLZ4_HEADER.size + library.bshuf_compress_lz4_bound(elements, itemsize, block), np.uint8)
    _BSLZ4_HEADER.pack_into(out.data, 0, image.nbytes, block * itemsize)
    count = library.bshuf_compress_lz4(
        image.ctypes.data, out.ctypes.data + _BSLZ4_HEADER.size, elements, itemsize, block
    )
    assert count >= 0, f"bitshuffle returned {count}"
    return out.data[: _BSLZ4_HEADER.size + count]


def encode_blosc(image: np.ndarray) -> bytes | bytearray:
    """Return the Blosc (LZ4, shuffled) chunk of an image (contiguous)."""
    import imagecodecs

    return imagecodecs.blosc_encode(
        image.reshape(-1).view(np.uint8).data,  # type: ignore[arg-type]  any buffer will do
        level=_BLOSC_LEVEL,
        compressor="lz4",
        shuffle="shuffle",
        typesize=image.itemsize,
        numthreads=1,
    )


@functools.cache
def _bitshuffle() -> Any:
    """Load bitshuffle from hdf5plugin; calls through ctypes release the GIL."""
    import hdf5plugin

    library = ctypes.CDLL(str(next(Path(hdf5plugin.PLUGIN_PATH).glob("libh5bshuf*"))))
    size = ctypes.c_size_t
    library.bshuf_default_block_size.argtypes = [size]
    library.bshuf_default_block_size.restype = size
    library.bshuf_compress_lz4_bound.argtypes = [size, size, size]
    library.bshuf_compress_lz4_bound.restype = size
    library.bshuf_compress_lz4.argtypes = [ctypes.c_void_p, ctypes.c_void_p, size, size, size]
    library.bshuf_compress_lz4.restype = ctypes.c_int64
    return library
