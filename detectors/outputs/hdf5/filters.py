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

Encode = Callable[[np.ndarray], memoryview]

_BSLZ4_HEADER: Final = struct.Struct(">QI")
"""In front of a bitshuffle chunk: bytes decompressed, bytes in a block."""

_BLOSC_LEVEL: Final = 5
_BLOSC_SHUFFLE: Final = 1
_BLOSC_OVERHEAD: Final = 16
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


def encode_blosc(image: np.ndarray) -> memoryview:
    """Return the Blosc (LZ4, shuffled) chunk of an image (contiguous)."""
    out = np.empty(image.nbytes + _BLOSC_OVERHEAD, np.uint8)
    count = _blosc().blosc_compress_ctx(
        _BLOSC_LEVEL, _BLOSC_SHUFFLE, image.itemsize, image.nbytes, image.ctypes.data, out.ctypes.data, out.nbytes,
        b"lz4", 0, 1,
    )  # fmt: skip
    assert count > 0, f"Blosc returned {count}"
    return out.data[:count]


@functools.cache
def _bitshuffle() -> Any:
    library = _plugin("libh5bshuf")
    size = ctypes.c_size_t
    library.bshuf_default_block_size.argtypes = [size]
    library.bshuf_default_block_size.restype = size
    library.bshuf_compress_lz4_bound.argtypes = [size, size, size]
    library.bshuf_compress_lz4_bound.restype = size
    library.bshuf_compress_lz4.argtypes = [ctypes.c_void_p, ctypes.c_void_p, size, size, size]
    library.bshuf_compress_lz4.restype = ctypes.c_int64
    return library


@functools.cache
def _blosc() -> Any:
    library = _plugin("libh5blosc")
    number, size, pointer = ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p
    # level, shuffle, type size, bytes, source, target, its bytes, compressor, block size (0: its own choice), threads
    library.blosc_compress_ctx.argtypes = [
        number, number, size, size, pointer, pointer, size, ctypes.c_char_p, size, number,
    ]  # fmt: skip
    return library


def _plugin(name: str) -> Any:
    """Load the library inside one of hdf5plugin's filters; calls through ctypes release the GIL."""
    import hdf5plugin

    return ctypes.CDLL(str(next(Path(hdf5plugin.PLUGIN_PATH).glob(f"{name}.*"))))
