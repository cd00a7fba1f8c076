"""What areaDetector's NDPluginCodec makes of an image."""

import ctypes
import struct
import zlib
from pathlib import Path

import hdf5plugin
import imagecodecs
import numpy as np

SCALAR_TYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")
"""pvData's ScalarType, 0 to 10."""


def compress(codec: str, pixels: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the blob, and codec.parameters. A ``+h5`` behind the codec's name adds the header of an HDF5 chunk."""
    raw = np.frombuffer(pixels.tobytes(), np.uint8)
    name, _, header = codec.partition("+")
    blob = {
        "blosc": lambda: imagecodecs.blosc_encode(raw),
        "lz4": lambda: imagecodecs.lz4_encode(raw, header=False),
        "bslz4": lambda: bslz4(pixels),
        "zlib": lambda: zlib.compress(raw.tobytes(), 1),
        "jpeg": lambda: imagecodecs.jpeg8_encode(pixels, level=95),
    }[name]()
    if header and name == "lz4":
        blob = struct.pack(">QII", raw.nbytes, raw.nbytes, len(blob)) + bytes(blob)
    elif header:
        blob = struct.pack(">QI", raw.nbytes, max(8192 // pixels.itemsize // 8 * 8, 128) * pixels.itemsize) + bytes(
            blob
        )
    return np.frombuffer(bytes(blob), np.uint8), SCALAR_TYPES.index(pixels.dtype.name)


def bslz4(pixels: np.ndarray) -> bytes:
    """Return bitshuffle's own stream, without a header."""
    pixels = np.ascontiguousarray(pixels)
    library = ctypes.CDLL(str(next(Path(hdf5plugin.PLUGIN_PATH).glob("libh5bshuf*"))))
    size, pointer = ctypes.c_size_t, ctypes.c_void_p
    library.bshuf_compress_lz4_bound.restype = size
    library.bshuf_compress_lz4_bound.argtypes = [size, size, size]
    library.bshuf_compress_lz4.restype = ctypes.c_int64
    library.bshuf_compress_lz4.argtypes = [pointer, pointer, size, size, size]
    out = np.empty(library.bshuf_compress_lz4_bound(pixels.size, pixels.itemsize, 0), np.uint8)
    done = library.bshuf_compress_lz4(pixels.ctypes.data, out.ctypes.data, pixels.size, pixels.itemsize, 0)
    assert done > 0
    return out[:done].tobytes()
