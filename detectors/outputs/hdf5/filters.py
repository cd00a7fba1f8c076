"""Chunks in the formats of HDF5's filters, compressed outside of HDF5 so that all processors work at once.

HDF5 compresses under its global lock; the libraries called here release the GIL. Their chunks have the format of the HDF5
filters, so that any HDF5 with these plugins reads them; those of Blosc are the same byte for byte.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from detectors.errors import ConfigError
from detectors.extras import hdf5_filters, image_codecs
from detectors.wire.bslz4 import Bslz4Encoder

Encode = Callable[[np.ndarray], memoryview]

_ZLIB_LEVEL: Final = 1
"""Fast: its higher levels take several times as long."""

_BLOSC_LEVEL: Final = 5
_BLOSC_OVERHEAD: Final = 16
_BLOSC_MAX_BYTES: Final = 2**31 - 33
"""Largest chunk of Blosc: INT_MAX less its header and one."""


@dataclass(frozen=True, slots=True)
class Compression:
    """One way to store a chunk."""

    name: str
    encode: Encode | None = None
    """Turns an image (contiguous, any dtype) into a chunk; None: stored as it is. Thread-safe, outside the GIL."""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Keywords of ``create_dataset``."""


COMPRESSIONS: Final = ("none", "bslz4", "blosc", "lz4", "zlib")


def compression(name: str, chunk_bytes: int) -> Compression:
    """Return one of ``COMPRESSIONS``, for chunks of ``chunk_bytes``.

    Raises ConfigError for another name, or a chunk that is too large for it, HostError when its library is not installed.
    """
    if name == "none":
        return Compression("none")
    if name not in COMPRESSIONS:
        raise ConfigError(f"compression: found {name!r}, expected one of {', '.join(COMPRESSIONS)}")
    if chunk_bytes > _BLOSC_MAX_BYTES:
        raise ConfigError(
            f"compression: found images of {chunk_bytes:,} bytes, {name} takes at most {_BLOSC_MAX_BYTES:,}; use none"
        )
    if name == "zlib":
        return Compression(name, _encode_zlib, {"compression": "gzip", "compression_opts": _ZLIB_LEVEL})
    filters = hdf5_filters()
    if name == "bslz4":
        return Compression(name, Bslz4Encoder().encode, filters.Bitshuffle(cname="lz4"))
    image_codecs()
    if name == "lz4":
        return Compression(name, _encode_lz4, filters.LZ4())
    return Compression(
        name, encode_blosc, filters.Blosc(cname="lz4", clevel=_BLOSC_LEVEL, shuffle=filters.Blosc.SHUFFLE)
    )


def _encode_zlib(image: np.ndarray) -> memoryview:
    return memoryview(zlib.compress(image.data, _ZLIB_LEVEL))


def _encode_lz4(image: np.ndarray) -> memoryview:
    return memoryview(image_codecs().lz4h5_encode(image))


def encode_blosc(image: np.ndarray) -> memoryview:
    """Return the Blosc (LZ4, shuffled) chunk of an image (contiguous)."""
    out = np.empty(image.nbytes + _BLOSC_OVERHEAD, np.uint8)
    encoded = image_codecs().blosc_encode(
        image,
        level=_BLOSC_LEVEL,
        compressor="lz4",
        shuffle=1,
        typesize=image.itemsize,
        blocksize=0,  # Blosc's own choice
        numthreads=1,
        out=out,
    )
    return encoded.data
