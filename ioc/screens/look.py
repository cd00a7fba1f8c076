"""How the screens look: a calm grey, four sizes of type, one grid, and colours for states alone."""

from enum import Enum
from typing import Final, NamedTuple

GRID: Final = 10
"""Distance between things, pixels."""

ROW: Final = 24
"""Height of a line of a form or of a table, pixels."""

BUTTON_HEIGHT: Final = 32

FONT: Final = "Liberation Sans"


class Colour(NamedTuple):
    """Red, green and blue, 0 to 255."""

    red: int
    green: int
    blue: int

    @property
    def css(self) -> str:
        """The colour as a stylesheet has it."""
        return f"#{self.red:02x}{self.green:02x}{self.blue:02x}"


PAGE: Final = Colour(0xDD, 0xE1, 0xE4)
PANEL: Final = Colour(0xEE, 0xF0, 0xF2)
FIELD: Final = Colour(0xFF, 0xFF, 0xFF)
BUTTON: Final = Colour(0xD0, 0xD6, 0xDB)
INK: Final = Colour(0x1F, 0x26, 0x2B)
MUTED: Final = Colour(0x5F, 0x6B, 0x74)
WHITE: Final = Colour(0xFF, 0xFF, 0xFF)

GOOD: Final = Colour(0x2F, 0x8F, 0x57)
QUIET: Final = Colour(0x7C, 0x87, 0x8F)
CHANGING: Final = Colour(0x3F, 0x7F, 0xB8)
MINOR: Final = Colour(0xB8, 0x7A, 0x00)
MAJOR: Final = Colour(0xC6, 0x28, 0x28)
INVALID: Final = Colour(0x9C, 0x3F, 0xA8)


class Size(Enum):
    """Sizes of type, pixels."""

    HEADLINE = 22
    HEADING = 15
    TEXT = 13
    SMALL = 11
