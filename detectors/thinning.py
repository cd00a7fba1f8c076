"""Images made smaller for screens, and where the axes of an image are. Pure.

An image is thinned: of each block of pixels the one in the middle is kept. Every value is one that the detector sent; means
would mix gain bits, masked pixels and gaps with the rest.
"""

import math
from enum import IntEnum
from typing import Any, Final

import numpy as np


class ColorMode(IntEnum):
    """areaDetector's NDColorMode_t."""

    MONO = 0
    RGB1 = 2
    """Shape [y, x, 3]."""
    RGB2 = 3
    """Shape [y, 3, x]."""
    RGB3 = 4
    """Shape [3, y, x]."""

    @property
    def label(self) -> str:
        """The name of it in areaDetector."""
        return self.name if self else "Mono"


DATA_TYPES: Final = {
    "int8": "Int8",
    "uint8": "UInt8",
    "int16": "Int16",
    "uint16": "UInt16",
    "int32": "Int32",
    "uint32": "UInt32",
    "int64": "Int64",
    "uint64": "UInt64",
    "float32": "Float32",
    "float64": "Float64",
}
"""areaDetector's names of the pixel types, in the order of its NDDataType."""


def color_mode(shape: tuple[int, ...]) -> ColorMode:
    """Return what an image of this shape is: of colour when it has three dimensions, one of which is 3."""
    if len(shape) == 3:
        for axis, mode in ((2, ColorMode.RGB1), (1, ColorMode.RGB2), (0, ColorMode.RGB3)):
            if shape[axis] == 3:
                return mode
    return ColorMode.MONO


def axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes y and x of an image; x alone of one with a single dimension."""
    match color_mode(shape):
        case ColorMode.RGB1:
            return 0, 1
        case ColorMode.RGB2:
            return 0, 2
        case _:
            return tuple(range(len(shape)))[-2:]


def binning(shape: tuple[int, ...], most: int, size: tuple[int, int] | None = None) -> int:
    """Return the side of a block, pixels, with which an image has at most ``most`` numbers and fits into ``size``, x and y."""
    sides = [shape[axis] for axis in axes(shape)]
    others = math.prod(shape) // math.prod(sides)
    factor = 1
    if size:
        factor = max(-(-side // limit) for side, limit in zip(reversed(sides), size, strict=False))
    while others * math.prod(-(-side // factor) for side in sides) > most and factor < max(sides):
        factor += 1
    return factor


def thinned(image: np.ndarray, factor: int) -> np.ndarray:
    """Return a view of every ``factor``-th pixel along x and y, from the middle of the first block."""
    chosen = [slice(None)] * image.ndim
    for axis in axes(image.shape):
        chosen[axis] = slice(min(factor // 2, (image.shape[axis] - 1) // 2), None, factor)
    return image[tuple(chosen)]


def colours_last(image: np.ndarray) -> np.ndarray:
    """Return a view of an image as JPEG has it: [y, x, 3] if it has colours."""
    mode = color_mode(image.shape)
    return np.moveaxis(image, ColorMode.RGB1 - mode - 1, -1) if mode else image


def eight_bits(image: np.ndarray) -> np.ndarray:
    """Return an image with its range of values mapped to uint8, which is left as it is."""
    if image.dtype == np.uint8:
        return image
    values = image.astype(np.float64)
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    scaled = (values - low) * (255 / (high - low) if high > low else 0.0)
    return np.clip(np.nan_to_num(scaled, nan=0.0), 0, 255).astype(np.uint8)


def described(shape: tuple[int, ...], dtype: np.dtype) -> dict[str, Any]:
    """Return what areaDetector's records say of an image: sizes of its dimensions, fastest first, and of its axes."""
    sizes = [*reversed(shape), 0, 0, 0]
    sides = [shape[axis] for axis in reversed(axes(shape))]
    mode = color_mode(shape)
    return {
        "dimensions": len(shape),
        "size_0": sizes[0],
        "size_1": sizes[1],
        "size_2": sizes[2],
        "size_x": sides[0],
        "size_y": sides[1] if len(sides) > 1 else 0,
        "size_z": 3 if mode else shape[-3] if len(shape) > 2 else 0,
        "dtype": DATA_TYPES[dtype.name],
        "color_mode": mode.label,
    }
