"""Decompression of what areaDetector's NDPluginCodec compresses, straight into the caller's memory.

The libraries release the GIL. Some sources pass on whole HDF5 chunks, with the chunk's header in front. Data that cannot
be decoded raises WireError and nothing else.
"""

import struct
from collections.abc import Callable
from typing import Final

import numpy as np

from detectors.errors import HostError, WireError
from detectors.extras import image_codecs
from detectors.wire.bslz4 import decode_bslz4
from detectors.wire.ntndarray import ArrayHead

_BLOSC_HEADER: Final = struct.Struct("<4B3I")  # version, format, flags, item size; bytes, bytes in a block, compressed
_HDF5_LZ4_HEADER: Final = struct.Struct(">QI")  # bytes decompressed, bytes in a block; then each block: size and data


def decode(codec: str, data: np.ndarray, out: np.ndarray, head: ArrayHead) -> None:
    """Fill ``out`` (uint8, ``head.nbytes``) with what ``data`` (uint8) holds; "" is no compression.

    Raises WireError for an unknown codec or one that is not installed, and for data that is corrupt or of another size.
    """
    if not codec:
        if data.nbytes != out.nbytes:
            raise WireError(f"array: found {data.nbytes} bytes, expected {out.nbytes}")
        np.copyto(out, data)
        return
    decoder = _DECODERS.get(codec)
    if decoder is None:
        raise WireError(f"codec: found {codec!r}, expected one of {', '.join(_DECODERS)}")
    try:
        decoded = decoder(data, out, head)
    except HostError as error:
        raise WireError(f"{codec}: {error}") from None
    except (RuntimeError, ValueError, TypeError, MemoryError) as error:  # imagecodecs' own are RuntimeErrors
        raise WireError(f"{codec}: found {data.nbytes} bytes that do not decode ({error})") from None
    if decoded.nbytes != out.nbytes:  # with too little data a decoder returns a shorter view
        raise WireError(f"{codec}: found {decoded.nbytes} bytes decoded, expected {out.nbytes}")


def _blosc(data: np.ndarray, out: np.ndarray, _head: ArrayHead) -> np.ndarray:
    if data.nbytes < _BLOSC_HEADER.size:
        raise WireError(f"blosc: found {data.nbytes} bytes, expected a header of {_BLOSC_HEADER.size}")
    nbytes = _BLOSC_HEADER.unpack_from(data.data)[4]
    if nbytes != out.nbytes:
        raise WireError(f"blosc: found a chunk of {nbytes} bytes, expected {out.nbytes}")
    return image_codecs().blosc2_decode(data, out=out)  # reads Blosc 1 as well, and faster than blosc_decode


def _lz4(data: np.ndarray, out: np.ndarray, _head: ArrayHead) -> np.ndarray:
    # No raw LZ4 block starts like the header: a first token without literals would repeat bytes that do not exist.
    if data.nbytes >= _HDF5_LZ4_HEADER.size and _HDF5_LZ4_HEADER.unpack_from(data.data)[0] == out.nbytes:
        return image_codecs().lz4h5_decode(data, out=out)
    return image_codecs().lz4_decode(data, out=out, header=False)


def _jpeg(data: np.ndarray, out: np.ndarray, head: ArrayHead) -> np.ndarray:
    """Decode into [y, x] or [y, x, 3]; libjpeg fills a truncated image with grey, so the end marker is checked first."""
    if data[-64:].tobytes().rstrip(b"\0")[-2:] != b"\xff\xd9":
        raise WireError(f"jpeg: found {data.nbytes} bytes without an end-of-image marker, expected a whole image")
    return image_codecs().jpeg8_decode(data, out=out.view(head.dtype).reshape(head.shape))


_DECODERS: Final[dict[str, Callable[[np.ndarray, np.ndarray, ArrayHead], np.ndarray]]] = {
    "blosc": _blosc,
    "lz4": _lz4,
    "bslz4": lambda data, out, head: decode_bslz4(data, out, head.dtype.itemsize),
    "jpeg": _jpeg,
    "zlib": lambda data, out, _head: image_codecs().zlib_decode(data, out=out),
}
