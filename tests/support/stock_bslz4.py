"""Bitshuffle + LZ4 as a stock reader undoes it: block by block, with imagecodecs and nothing of ours."""

import struct

import imagecodecs
import numpy as np


def read_chunk(chunk: bytes, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the image in a chunk of HDF5's bitshuffle filter."""
    nbytes, block_bytes = struct.unpack_from(">QI", chunk)
    image = read_stream(chunk[12:], dtype, shape, block_bytes)
    assert image.nbytes == nbytes
    return image


def read_stream(stream: bytes, dtype: str, shape: tuple[int, ...], block_bytes: int = 8192) -> np.ndarray:
    """Return the image in what areaDetector calls codec "bslz4"."""
    itemsize, left, at = np.dtype(dtype).itemsize, int(np.prod(shape)) * np.dtype(dtype).itemsize, 0
    found = []
    while (size := min(block_bytes, left // (8 * itemsize) * 8 * itemsize)) > 0:
        length = struct.unpack_from(">I", stream, at)[0]
        shuffled = imagecodecs.lz4_decode(stream[at + 4 : at + 4 + length], out=size)
        found.append(imagecodecs.bitshuffle_decode(shuffled, itemsize=itemsize, blocksize=0))
        at, left = at + 4 + length, left - size
    assert len(stream) == at + left
    return np.frombuffer(b"".join(found) + stream[at:], dtype).reshape(shape)
