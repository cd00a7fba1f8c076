"""Module geometry as data: what a frame is made of, for any regular module."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.errors import ConfigError
from detectors.frame import MISSING_MASK_BYTES

MAX_PACKETS: Final = MISSING_MASK_BYTES * 8

HEADER_NAMES: Final = ("jungfrau", "sls", "sls-big-endian")
"""Names of the packet headers in ``detectors.wire.headers``."""

PIXEL_TYPES: Final = (
    "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64",
)  # fmt: skip
"""Pixel types, by their numpy names."""


@dataclass(frozen=True, slots=True)
class ModuleGeometry:
    """One regular detector module: every packet carries the same number of whole rows, in order.

    Raises ConfigError when the packets do not divide the module into whole rows.
    """

    name: str
    header: str
    """Name of the packet header's layout, a key of ``detectors.wire.headers.HEADERS``."""
    rows: int
    cols: int
    dtype: str
    """numpy name of the pixel type, little-endian: ``uint16``."""
    packets_per_frame: int

    def __post_init__(self) -> None:
        for name, value, known in (("header", self.header, HEADER_NAMES), ("dtype", self.dtype, PIXEL_TYPES)):
            if value not in known:
                raise ConfigError(f"{name}: found {value!r}, expected one of {', '.join(known)}")
        for name, number in (("rows", self.rows), ("cols", self.cols), ("packets_per_frame", self.packets_per_frame)):
            if type(number) is not int or number < 1:
                raise ConfigError(f"{name}: found {number!r}, expected a whole number of at least 1")
        if self.packets_per_frame > MAX_PACKETS:
            raise ConfigError(
                f"packets_per_frame: found {self.packets_per_frame}, expected 1 to {MAX_PACKETS}; "
                "a frame's missing-packet mask holds no more"
            )
        if self.rows % self.packets_per_frame:
            raise ConfigError(
                f"packets_per_frame: {self.rows} rows do not divide into {self.packets_per_frame} packets of whole rows; "
                "give a divisor of the rows"
            )

    @property
    def numpy_dtype(self) -> np.dtype:
        """Pixel type, little-endian."""
        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def rows_per_packet(self) -> int:
        """Whole rows in one packet."""
        return self.rows // self.packets_per_frame

    @property
    def packet_data_bytes(self) -> int:
        """Pixels in one packet, bytes."""
        return self.rows_per_packet * self.cols * self.numpy_dtype.itemsize

    @property
    def frame_bytes(self) -> int:
        """Pixels in one frame, bytes."""
        return self.packet_data_bytes * self.packets_per_frame

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.rows, self.cols


GEOMETRIES: Final = {
    g.name: g
    for g in (
        ModuleGeometry("jungfrau", "jungfrau", 512, 1024, "uint16", 128),
        ModuleGeometry("eiger-16", "sls", 256, 512, "uint16", 64),
        ModuleGeometry("eiger-32", "sls", 256, 512, "uint32", 128),
    )
}
"""Modules known by name. EIGER: one 256 x 512 quadrant, 4096 bytes a packet."""
