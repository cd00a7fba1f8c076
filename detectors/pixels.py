"""Pixel types: numpy's, and packed ones that detectors send, of which two pixels share bytes. Pure.

Packed pixels stay packed on the wire, in the pebble and on disk; readers, images and HDF5 copies get them unpacked.
Sources: slsDetectorPackage (EIGER's 4 and 12 bits), PFNC (Mono12p).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

PIXEL_TYPES: Final = (
    "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64",
)  # fmt: skip
"""Pixel types, by their numpy names."""


@dataclass(frozen=True, slots=True)
class Packing:
    """How two pixels lie in the bytes that they share."""

    pair_bytes: int
    dtype: np.dtype
    """Type of the unpacked pixels."""
    split: Callable[[np.ndarray, np.ndarray], None]
    """Fills pixels [pairs, 2] from bytes [pairs, pair_bytes]."""
    join: Callable[[np.ndarray, np.ndarray], None]
    """Fills bytes from pixels, of which the bits above are dropped."""


def _split4(packed: np.ndarray, pixels: np.ndarray) -> None:
    np.bitwise_and(packed[:, 0], 0xF, out=pixels[:, 0])
    np.right_shift(packed[:, 0], 4, out=pixels[:, 1])


def _join4(pixels: np.ndarray, packed: np.ndarray) -> None:
    packed[:, 0] = pixels[:, 0] & 0xF | pixels[:, 1] << 4


def _split12(packed: np.ndarray, pixels: np.ndarray) -> None:
    low, middle, high = packed.T.astype(np.uint16)
    pixels[:, 0] = low | (middle & 0xF) << 8
    pixels[:, 1] = middle >> 4 | high << 4


def _join12(pixels: np.ndarray, packed: np.ndarray) -> None:
    first, second = pixels.T
    packed[:, 0] = first & 0xFF
    packed[:, 1] = first >> 8 & 0xF | (second & 0xF) << 4
    packed[:, 2] = second >> 4 & 0xFF


PACKINGS: Final = {
    "uint4": Packing(1, np.dtype("u1"), _split4, _join4),
    "uint4h": Packing(
        1,
        np.dtype("u1"),
        lambda packed, pixels: _split4(packed, pixels[:, ::-1]),
        lambda pixels, packed: _join4(pixels[:, ::-1], packed),
    ),
    "uint12p": Packing(3, np.dtype("<u2"), _split12, _join12),
}
"""uint4: the first pixel in the low four bits of a byte; uint4h: in the high four; uint12p: from the lowest bit upwards."""

STORED_TYPES: Final = (*PIXEL_TYPES, *PACKINGS)
"""What a frame of a module can be made of."""


@dataclass(frozen=True, slots=True)
class FrameLayout:
    """What a frame is made of, as it is stored and as it is read. Packed pixels are even in number."""

    shape: tuple[int, ...]
    """Slowest dimension first."""
    dtype: str
    """Pixel type as stored: one of STORED_TYPES, little-endian."""

    @property
    def is_packed(self) -> bool:
        """Whether the pixels must be unpacked."""
        return self.dtype in PACKINGS

    @property
    def pixel_type(self) -> np.dtype:
        """Type of the pixels as they are read, little-endian."""
        return PACKINGS[self.dtype].dtype if self.is_packed else np.dtype(self.dtype).newbyteorder("<")

    @property
    def data_bytes(self) -> int:
        """Pixels as stored, bytes."""
        pixels = math.prod(self.shape)
        return pixels * PACKINGS[self.dtype].pair_bytes // 2 if self.is_packed else pixels * self.pixel_type.itemsize

    def image_shape(self, modules: int) -> tuple[int, ...]:
        """Return the shape of so many frames joined along the slowest dimension."""
        rows, *rest = self.shape or (1,)
        return (modules * rows, *rest)

    def read(self, data: np.ndarray) -> np.ndarray:
        """Return the pixels in ``data``, uint8[data_bytes]: a view, or, of packed ones, an array of their own."""
        if not self.is_packed:
            return data.view(self.pixel_type).reshape(self.shape)
        pixels = np.empty(self.shape, self.pixel_type)
        self.unpack(data, pixels)
        return pixels

    def unpack(self, data: np.ndarray, out: np.ndarray) -> None:
        """Unpack ``data``, uint8[data_bytes], into ``out``, which is contiguous and of the frame's shape and pixel type."""
        packing = PACKINGS[self.dtype]
        packing.split(data.reshape(-1, packing.pair_bytes), out.reshape(-1, 2))

    def store(self, pixels: np.ndarray) -> np.ndarray:
        """Return a contiguous frame as it is stored, uint8[data_bytes]: a view, or, of packed pixels, an array of their own."""
        if not self.is_packed:
            return pixels.reshape(-1).view(np.uint8)
        packing = PACKINGS[self.dtype]
        packed = np.empty((pixels.size // 2, packing.pair_bytes), np.uint8)
        packing.join(pixels.reshape(-1, 2), packed)
        return packed.reshape(-1)
