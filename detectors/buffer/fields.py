"""The arrays of an event that several PVs make up: where each lies in the data of a record."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np


@dataclass(frozen=True, slots=True)
class Field:
    """The array of one PV within the data of an event."""

    name: str
    dtype: str
    """numpy name, little-endian."""
    shape: tuple[int, ...]
    """Slowest dimension first; () for a scalar."""
    offset: int
    nbytes: int

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape), "offset": self.offset}

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> Self:
        """Return it from JSON. Raises ValueError, KeyError or TypeError for something else."""
        dtype, shape, offset = np.dtype(tree["dtype"]), tuple(int(n) for n in tree["shape"]), int(tree["offset"])
        if offset < 0 or any(n < 1 for n in shape):
            raise ValueError(f"found a field of shape {list(shape)} at byte {offset}")
        return cls(str(tree["name"]), dtype.name, shape, offset, math.prod(shape) * dtype.itemsize)

    def of(self, data: np.ndarray) -> np.ndarray:
        """Return its array, a view of ``data``, which are the contiguous pixels of a record in any shape and type."""
        raw = data.reshape(-1).view(np.uint8)[self.offset : self.offset + self.nbytes]
        return raw.view(np.dtype(self.dtype).newbyteorder("<")).reshape(self.shape)


def field_names(aliases: Sequence[str]) -> list[str]:
    """Return a name of its own for each PV: one that comes again gets the PV's number."""
    names: list[str] = []
    for number, alias in enumerate(aliases):
        name = alias
        while name in names:
            name = f"{name}_{number}"
        names.append(name)
    return names
