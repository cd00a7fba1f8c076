"""Images with gaps: each module at its place, turned as it has to be. Pure."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Final, Self, TypeAlias

import numpy as np

from detectors.errors import ConfigError
from detectors.pixels import FrameLayout

_Part: TypeAlias = tuple[slice, slice]

_BACK: Final = slice(None, None, -1)
_FLIP: Final[dict[str, _Part]] = {
    "none": (slice(None), slice(None)),
    "rows": (_BACK, slice(None)),
    "columns": (slice(None), _BACK),
}

ROTATIONS: Final = (0, 90, 180, 270)
FARTHEST: Final = 0xFFFF
"""Largest row and column of a place, and of a chip."""
MOST_CHIPS: Final = 4096
"""Most chips of a frame: each is copied by itself."""


@dataclass(frozen=True, slots=True)
class Chips:
    """The chips of a module: between them lie ``gap`` pixels that it does not send. 0 rows or columns: all are of one chip.

    Raises ConfigError for what is no whole number.
    """

    rows: int = 0
    cols: int = 0
    gap: int = 0

    def __post_init__(self) -> None:
        for name, number in (("chip_rows", self.rows), ("chip_cols", self.cols), ("gap", self.gap)):
            if type(number) is not int or not 0 <= number <= FARTHEST:
                raise ConfigError(f"{name}: found {number!r}, expected a whole number from 0 to {FARTHEST}")

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise ConfigError when a frame of the shape does not consist of whole chips."""
        for name, size, chip in zip(("chip_rows", "chip_cols"), shape, (self.rows, self.cols), strict=True):
            if chip and size % chip:
                raise ConfigError(f"{name}: found {chip}, expected a divisor of {size}")
        rows, cols = shape
        if (chips := self._count(rows, self.rows) * self._count(cols, self.cols)) > MOST_CHIPS:
            raise ConfigError(f"chip_rows, chip_cols: found {chips} chips in a frame, expected at most {MOST_CHIPS}")

    def spread(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return the shape of a frame with the gaps between its chips."""
        rows, cols = shape
        return rows + self.gap * (self._count(rows, self.rows) - 1), cols + self.gap * (
            self._count(cols, self.cols) - 1
        )

    def parts(self, shape: tuple[int, ...]) -> Iterator[tuple[_Part, _Part]]:
        """Yield where each chip lies in a frame of the shape, and where in the frame with gaps."""
        rows, cols = shape
        across = list(self._runs(cols, self.cols))
        for row, spread_row in self._runs(rows, self.rows):
            for col, spread_col in across:
                yield (row, col), (spread_row, spread_col)

    @staticmethod
    def _count(pixels: int, chip: int) -> int:
        return pixels // chip if chip else 1

    def _runs(self, pixels: int, chip: int) -> Iterator[tuple[slice, slice]]:
        size = chip or pixels
        for n in range(self._count(pixels, chip)):
            yield slice(n * size, (n + 1) * size), slice(n * (size + self.gap), n * (size + self.gap) + size)


ONE_CHIP: Final = Chips()


@dataclass(frozen=True, slots=True)
class ModulePlace:
    """Where a module's frame lies in an image. Raises ConfigError for what is no place."""

    row: int
    """First row of the image that it takes."""
    column: int
    """First column of the image that it takes."""
    flip: str = "none"
    """``rows``: its last row comes first, as a half module that is built in upside down sends it; ``columns``: its last column."""
    rotate: int = 0
    """Degrees that it is turned clockwise, after the flip."""
    chips: Chips = ONE_CHIP
    """Where the gaps in it are: known from its geometry."""

    def __post_init__(self) -> None:
        for name in ("row", "column"):
            number = getattr(self, name)
            if type(number) is not int or not 0 <= number <= FARTHEST:
                raise ConfigError(f"{name}: found {number!r}, expected a whole number from 0 to {FARTHEST}")
        for name, known in (("flip", tuple(_FLIP)), ("rotate", ROTATIONS)):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"{name}: found {getattr(self, name)!r}, expected one of {', '.join(map(str, known))}"
                )

    def box(self, shape: tuple[int, ...]) -> _Part:
        """Return the part of the image that a frame of the shape takes, with its gaps."""
        high, wide = self.chips.spread(shape)
        if self.rotate % 180:
            high, wide = wide, high
        return slice(self.row, self.row + high), slice(self.column, self.column + wide)

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> Self:
        """Return what ``dataclasses.asdict`` has made of a place. Raises ConfigError, KeyError or TypeError for anything else."""
        return cls(tree["row"], tree["column"], tree["flip"], tree["rotate"], Chips(**tree["chips"]))


class Mosaic:
    """An image of frames that lie at their places, the first of ``places`` for the first module and so on.

    What no chip covers has ``gap_value``. Raises ConfigError when modules overlap, for frames that have no rows and columns,
    and for a gap value that is no pixel.
    """

    def __init__(self, frame: FrameLayout, places: Sequence[ModulePlace], gap_value: float = 0) -> None:
        if len(frame.shape) != 2:
            raise ConfigError(f"layout: found frames of {list(frame.shape)}, expected rows and columns")
        self.pixel_type = frame.pixel_type
        self._frame, self._gap_value = frame, gap_value
        self.places = tuple(places)
        try:
            self.gap_value = self.pixel_type.type(gap_value)
        except (OverflowError, ValueError):
            self.gap_value = None
        if self.gap_value != gap_value:
            raise ConfigError(f"gap_value: found {gap_value}, expected a value of {self.pixel_type.name}")
        for place in places:
            place.chips.check(frame.shape)
        self._parts = [tuple(place.chips.parts(frame.shape)) for place in places]
        self.boxes = [place.box(frame.shape) for place in places]
        """The rows and the columns that each module takes."""
        for (m, one), (n, other) in combinations(enumerate(self.boxes), 2):
            if all(a.start < b.stop and b.start < a.stop for a, b in zip(one, other, strict=True)):
                raise ConfigError(f"place: modules {m} and {n} overlap: {_text(one)} and {_text(other)}")
        self.shape = (max(rows.stop for rows, _ in self.boxes), max(cols.stop for _, cols in self.boxes))
        self._has_gaps = len(self.places) * math.prod(frame.shape) < math.prod(self.shape)

    def corner(self, modules: Sequence[int]) -> tuple[int, int]:
        """Return the first row and the first column that some of the modules take."""
        return min(self.boxes[m][0].start for m in modules), min(self.boxes[m][1].start for m in modules)

    def part(self, modules: Sequence[int]) -> "Mosaic":
        """Return the smallest image of some of the modules, in which they lie as in the whole."""
        row, column = self.corner(modules)
        places = [self.places[m] for m in modules]
        moved = [replace(place, row=place.row - row, column=place.column - column) for place in places]
        return Mosaic(self._frame, moved, self._gap_value)

    def fill_gaps(self, image: np.ndarray) -> None:
        """Begin an image: set what no chip covers, and leave the rest undefined."""
        if self._has_gaps:
            image[:] = self.gap_value

    def put(self, image: np.ndarray, module: int, pixels: np.ndarray | None) -> None:
        """Put a module's frame in its place; None: zeros."""
        place = self.places[module]
        target = np.rot90(image[self.boxes[module]], place.rotate // 90)
        target = target[_FLIP[place.flip]]
        for part, spread in self._parts[module]:
            target[spread] = 0 if pixels is None else pixels[part]


def _text(box: _Part) -> str:
    rows, columns = box
    return f"rows {rows.start} to {rows.stop - 1}, columns {columns.start} to {columns.stop - 1}"
