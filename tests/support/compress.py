"""What areaDetector's NDPluginCodec makes of an image."""

import struct
import zlib

import imagecodecs
import numpy as np

from detectors.wire.bslz4 import CHUNK_HEADER, encode_bslz4

SCALAR_TYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")
"""pvData's ScalarType, 0 to 10."""


def compress(codec: str, pixels: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the blob, and codec.parameters. A ``+h5`` behind the codec's name adds the header of an HDF5 chunk."""
    raw = np.frombuffer(pixels.tobytes(), np.uint8)
    name, _, header = codec.partition("+")
    blob = {
        "blosc": lambda: imagecodecs.blosc_encode(raw),
        "lz4": lambda: imagecodecs.lz4_encode(raw, header=False),
        "bslz4": lambda: encode_bslz4(np.ascontiguousarray(pixels))[0 if header else CHUNK_HEADER.size :],
        "zlib": lambda: zlib.compress(raw.tobytes(), 1),
        "jpeg": lambda: imagecodecs.jpeg8_encode(pixels, level=95),
    }[name]()
    if header and name == "lz4":
        blob = struct.pack(">QII", raw.nbytes, raw.nbytes, len(blob)) + bytes(blob)
    return np.frombuffer(bytes(blob), np.uint8), SCALAR_TYPES.index(pixels.dtype.name)
