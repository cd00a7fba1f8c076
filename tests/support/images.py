"""Images that both ends of a test can make: shape and type from names, pixels from a seed."""

import numpy as np

UNION_MEMBERS = {
    "bool": "booleanValue",
    "int8": "byteValue",
    "int16": "shortValue",
    "int32": "intValue",
    "int64": "longValue",
    "uint8": "ubyteValue",
    "uint16": "ushortValue",
    "uint32": "uintValue",
    "uint64": "ulongValue",
    "float32": "floatValue",
    "float64": "doubleValue",
}


def image(dtype: str, shape: tuple[int, ...] | list[int], seed: int) -> np.ndarray:
    """Pixels that differ with every seed and position, and use every byte of their type."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return np.random.default_rng(seed).integers(0, 2, shape).astype(kind)
    if kind.kind == "f":
        return np.random.default_rng(seed).normal(0, 1e6, shape).astype(kind)
    limits = np.iinfo(kind)
    return np.random.default_rng(seed).integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)


def memory(pixels: np.ndarray) -> np.ndarray:
    """The same as it lies in a slot: booleans are bytes."""
    return pixels.view(np.uint8) if pixels.dtype.kind == "b" else pixels
