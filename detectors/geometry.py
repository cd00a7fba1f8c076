"""Module geometry as data: what a frame is made of, for any regular module."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from detectors.errors import ConfigError
from detectors.frame import MISSING_MASK_BYTES
from detectors.mosaic import Chips
from detectors.pixels import STORED_TYPES, FrameLayout

MAX_PACKETS: Final = MISSING_MASK_BYTES * 8

HEADER_NAMES: Final = ("jungfrau", "sls", "sls-big-endian")
"""Names of the packet headers in ``detectors.wire.headers``."""


@dataclass(frozen=True, slots=True)
class ModuleGeometry:
    """What one port of a detector sends: a module or a part of one, in packets that carry equal parts of it, in order.

    Raises ConfigError when the packets do not divide the frame, or the chips the module.
    """

    name: str
    header: str
    """Layout of the packet header: jungfrau, sls or sls-big-endian."""
    rows: int
    """Rows of pixels of a frame."""
    cols: int
    """Columns of pixels of a frame."""
    dtype: str
    """Pixel type as it is sent, little-endian: an integer or float type of numpy, or uint4, uint4h, uint12p."""
    packets_per_frame: int
    """Packets of a frame, all of one size."""
    chip_rows: int = 0
    """Rows of a chip; 0: all. Between chips lie ``gap`` pixels that are not sent."""
    chip_cols: int = 0
    """Columns of a chip; 0: all."""
    gap: int = 0
    """Pixels between two chips."""

    def __post_init__(self) -> None:
        for name, value, known in (("header", self.header, HEADER_NAMES), ("dtype", self.dtype, STORED_TYPES)):
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
        if self.layout.is_packed and self.rows * self.cols % 2:
            raise ConfigError(
                f"dtype: found {self.dtype} for {self.rows} x {self.cols} pixels, expected an even number"
            )
        if self.frame_bytes % self.packets_per_frame:
            raise ConfigError(
                f"packets_per_frame: {self.frame_bytes} bytes of {self.rows} x {self.cols} {self.dtype} do not divide into "
                f"{self.packets_per_frame} equal packets"
            )
        self.chips.check(self.shape)

    @property
    def layout(self) -> FrameLayout:
        """What a frame is made of."""
        return FrameLayout(self.shape, self.dtype)

    @property
    def chips(self) -> Chips:
        """Where the gaps between its chips are."""
        return Chips(self.chip_rows, self.chip_cols, self.gap)

    @property
    def packet_data_bytes(self) -> int:
        """Pixels in one packet, bytes."""
        return self.frame_bytes // self.packets_per_frame

    @property
    def frame_bytes(self) -> int:
        """Pixels in one frame, as they are sent, bytes."""
        return self.layout.data_bytes

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.rows, self.cols


def _jungfrau(name: str, rows: int) -> ModuleGeometry:
    return ModuleGeometry(name, "jungfrau", rows, 1024, "uint16", rows // 4, chip_rows=256, chip_cols=256, gap=2)


def _eiger() -> Iterator[ModuleGeometry]:
    """Yield what one port sends, a quarter of a module: 4096 bytes a packet, or, over 1 GbE, 1024."""
    for bits, dtype in ((4, "uint4"), (8, "uint8"), (12, "uint12p"), (16, "uint16"), (32, "uint32")):
        for suffix, packets in (("", 4 * bits), ("-1g", 16 * bits)):
            yield ModuleGeometry(f"eiger-{bits}{suffix}", "sls", 256, 512, dtype, packets, 256, 256, 2)


GEOMETRIES: Final = {g.name: g for g in (_jungfrau("jungfrau", 512), _jungfrau("jungfrau-half", 256), *_eiger())}
"""Modules known by name. Source: slsDetectorPackage. A jungfrau-half is what each port sends of a module with two interfaces."""
