"""The arrays of an event that several PVs make up: where each lies in the data of a record."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, cast

import numpy as np

LARGEST_FRAME: Final = 1 << 40
"""Bytes: what a description claims beyond is a mistake."""
_MOST_DIMENSIONS: Final = 16


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
        dtype, shape = json_dtype(tree["dtype"]), json_shape(tree["shape"])
        offset = json_integer(tree["offset"], least=0)
        return cls(str(tree["name"]), dtype.name, shape, offset, math.prod(shape) * dtype.itemsize)

    def of(self, data: np.ndarray) -> np.ndarray:
        """Return its array, a view of ``data``, which are the contiguous pixels of a record in any shape and type."""
        raw = data.reshape(-1).view(np.uint8)[self.offset : self.offset + self.nbytes]
        return raw.view(np.dtype(self.dtype).newbyteorder("<")).reshape(self.shape)


def json_integer(found: Any, *, least: int = 1) -> int:
    """Return an integer from JSON. Raises ValueError for something else, and for one that no array has."""
    if type(found) is not int or not least <= found <= LARGEST_FRAME:
        raise ValueError(f"found {str(found)[:40]}, expected an integer from {least} to {LARGEST_FRAME}")
    return found


def json_shape(found: Any) -> tuple[int, ...]:
    """Return a shape from JSON. Raises ValueError for something else."""
    sizes = cast("list[Any]", found)
    if not isinstance(found, list) or len(sizes) > _MOST_DIMENSIONS:
        raise ValueError(f"found shape {str(sizes)[:40]}, expected a list of at most {_MOST_DIMENSIONS} integers")
    return tuple(json_integer(n) for n in sizes)


def json_dtype(found: Any) -> np.dtype:
    """Return the numpy type of a name like ``uint16``. Raises ValueError, or TypeError, for something else."""
    if not isinstance(found, str) or not re.fullmatch(r"[<|=]?[a-z]+[0-9]{0,3}", found):
        raise ValueError(f"found dtype {str(found)[:40]}, expected a name like uint16")
    dtype = np.dtype(found)
    if dtype.kind not in "biuf":
        raise ValueError(f"found dtype {found}, expected the name of a type of numbers")
    return dtype


def field_names(aliases: Sequence[str]) -> list[str]:
    """Return a name of its own for each PV: one that comes again gets the PV's number."""
    names: list[str] = []
    for number, alias in enumerate(aliases):
        name = alias
        while name in names:
            name = f"{name}_{number}"
        names.append(name)
    return names
