"""Chunks in the formats of HDF5's filters, compressed outside of HDF5 so that all processors work at once.

HDF5 compresses under its global lock; the libraries called here release the GIL. Their chunks are byte for byte those of
bitshuffle's and Blosc's HDF5 filters, so that any HDF5 with these plugins reads them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import imagecodecs as _imagecodecs
import numpy as np

from detectors.errors import ConfigError
from detectors.wire.bslz4 import encode_bslz4

imagecodecs: Any = _imagecodecs  # its annotations know bytes only, its functions take arrays as well

Encode = Callable[[np.ndarray], memoryview]

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


def encode_blosc(image: np.ndarray) -> memoryview:
    """Return the Blosc (LZ4, shuffled) chunk of an image (contiguous)."""
    out = np.empty(image.nbytes + _BLOSC_OVERHEAD, np.uint8)
    encoded = imagecodecs.blosc_encode(
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
