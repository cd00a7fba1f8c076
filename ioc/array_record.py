"""The record that holds an image: a waveform of numbers, bound by the tag ``pebbledaq:array``."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from ioc.bindings import StaticRecord
from ioc.input_record import InputRecord

_TYPES: Final[Mapping[str, str]] = {
    "CHAR": "int8",
    "UCHAR": "uint8",
    "SHORT": "int16",
    "USHORT": "uint16",
    "LONG": "int32",
    "ULONG": "uint32",
    "FLOAT": "float32",
    "DOUBLE": "float64",
}
"""numpy's names of the types of a waveform (FTVL)."""


class ArrayRecord:
    """Made before EPICS starts."""

    def __init__(self, record: StaticRecord) -> None:
        self._dtype = np.dtype(_TYPES[record.fields["FTVL"]])
        self._record = InputRecord(record)

    def show(self, pixels: np.ndarray, time_ns: int) -> None:
        """Publish an image, at the time of its data."""
        self._record.set(np.ascontiguousarray(pixels, self._dtype), time_ns=time_ns)
