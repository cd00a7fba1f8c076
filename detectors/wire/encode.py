"""Compression of images, as areaDetector's NDPluginCodec does it."""

from collections.abc import Callable
from typing import Final

import numpy as np

from detectors.errors import ConfigError
from detectors.extras import image_codecs
from detectors.wire.bslz4 import CHUNK_HEADER, encode_bslz4
from detectors.wire.ntndarray import CODEC_DTYPES

SCALAR_TYPES: Final = {dtype.name: number for number, dtype in enumerate(CODEC_DTYPES)}
"""pvData's ScalarType, which ``codec.parameters`` carries: the pixel type before compression; of bytes ubyte, not boolean."""


def encode(codec: str, image: np.ndarray) -> np.ndarray:
    """Return ``image`` compressed, uint8[bytes]. JPEG loses exactness, and takes 8-bit images of 1 or 3 colours only.

    Raises ConfigError for an unknown codec or an image that it cannot take, HostError when its library is not installed.
    """
    if codec not in ENCODERS:
        raise ConfigError(f"codec: found {codec!r}, expected one of {', '.join(ENCODERS)}")
    return np.frombuffer(ENCODERS[codec](image), np.uint8)


def _blosc(image: np.ndarray) -> bytes:
    return image_codecs().blosc_encode(image, level=5, compressor="lz4", shuffle=2, typesize=image.itemsize)


def _lz4(image: np.ndarray) -> bytes:
    return image_codecs().lz4_encode(image, header=False)


def _zlib(image: np.ndarray) -> bytes:
    return image_codecs().zlib_encode(image, level=1)


def _bslz4(image: np.ndarray) -> memoryview:
    return encode_bslz4(np.ascontiguousarray(image))[CHUNK_HEADER.size :]


def _jpeg(image: np.ndarray) -> bytes:
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise ConfigError(f"jpeg: found {image.dtype} {list(image.shape)}, expected uint8 [y, x] or [y, x, 3]")
    return image_codecs().jpeg8_encode(image, level=85)


ENCODERS: Final[dict[str, Callable[[np.ndarray], bytes | memoryview]]] = {
    "blosc": _blosc,
    "lz4": _lz4,
    "bslz4": _bslz4,
    "zlib": _zlib,
    "jpeg": _jpeg,
}
