"""The data of one event of a PV detector: the arrays of its PVs, one behind the other. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from detectors.buffer.fields import Field, field_names
from detectors.frame import MISSING_MASK_BYTES


class Array(Protocol):
    """What is known of the arrays of one PV."""

    @property
    def payload_bytes(self) -> int: ...  # noqa: D102
    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def dtype(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class DatagramLayout:
    """Where each PV's array lies, and what readers that know of no fields take the whole for."""

    fields: tuple[Field, ...]

    @classmethod
    def of(cls, arrays: Sequence[tuple[str, Array]]) -> Self:
        """Return the layout of named arrays, in their order; a name that comes again gets its number."""
        fields: list[Field] = []
        offset = 0
        for name, (_, array) in zip(field_names([name for name, _ in arrays]), arrays, strict=True):
            fields.append(Field(name, array.dtype, array.shape, offset, array.payload_bytes))
            offset += array.payload_bytes
        return cls(tuple(fields))

    @property
    def parts(self) -> tuple[Field, ...]:
        """The fields as they are written down for readers: none when the whole is one array."""
        return self.fields if len(self.fields) > 1 else ()

    @property
    def payload_bytes(self) -> int:
        """All arrays."""
        return sum(f.nbytes for f in self.fields)

    @property
    def dtype(self) -> str:
        """Type of the whole: that of the arrays when they agree, else bytes."""
        types = {f.dtype for f in self.fields}
        return types.pop() if len(types) == 1 else "uint8"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole: the array's own; equal arrays stacked; else all elements in a row. A scalar is [1]."""
        first = self.fields[0]
        if len(self.fields) == 1:
            return first.shape or (1,)
        if len({(f.dtype, f.shape) for f in self.fields}) == 1:
            return (len(self.fields), *first.shape)
        if len({f.dtype for f in self.fields}) == 1:
            return (sum(math.prod(f.shape) for f in self.fields),)
        return (self.payload_bytes,)


def missing_mask(present: Sequence[bool] | np.ndarray) -> bytes:
    """Return the mask of the missing parts, bit ``n % 8`` of byte ``n // 8``; empty when none is missing."""
    missing = np.logical_not(present)
    if not missing.any():
        return b""
    return np.packbits(missing, bitorder="little").tobytes().ljust(MISSING_MASK_BYTES, b"\0")
