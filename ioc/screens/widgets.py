"""What a screen is made of. Names of PVs and other texts may have macros, written ``$(P)``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from ioc.screens.look import INK, PANEL, ROW, Colour, Size


class Box(NamedTuple):
    """Where a widget is, in pixels from the upper left corner of the screen."""

    x: int
    y: int
    width: int
    height: int


class Align(Enum):
    """Where a text is in its box."""

    LEFT = "left"
    CENTRE = "centre"
    RIGHT = "right"


class Alarm(Enum):
    """What the severity of a PV does to the box of its reading."""

    NONE = "none"
    SEVERITY = "severity"
    """It has the colour of the severity."""
    LOSS = "loss"
    """It is red whenever there is an alarm: something has been lost."""
    LAMP = "lamp"
    """It lies on a lamp, and covers it when the value is not valid."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A plain rectangle behind other widgets."""

    box: Box
    colour: Colour = PANEL


@dataclass(frozen=True, slots=True)
class Label:
    """A fixed text."""

    box: Box
    text: str
    size: Size = Size.TEXT
    bold: bool = False
    align: Align = Align.LEFT
    colour: Colour = INK


@dataclass(frozen=True, slots=True)
class PvText:
    """The value of a PV."""

    box: Box
    pv: str
    size: Size = Size.TEXT
    bold: bool = False
    align: Align = Align.LEFT
    colour: Colour = INK
    alarm: Alarm = Alarm.SEVERITY
    units: bool = False
    long: bool = False
    """Whether it is a text that may be longer than 39 characters."""
    divisor: float = 1
    """The value is shown divided by it, with one decimal place."""

    @property
    def wraps(self) -> bool:
        """Whether it has several lines, from the top of its box."""
        return self.long and self.box.height > ROW and self.alarm is not Alarm.LAMP


@dataclass(frozen=True, slots=True)
class Lamp:
    """A rectangle whose colour is that of a state; ``colours`` are those of its values 0, 1, ..."""

    box: Box
    pv: str
    colours: tuple[Colour, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A field to write a value into."""

    box: Box
    pv: str
    long: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """A menu of the choices of a PV."""

    box: Box
    pv: str


@dataclass(frozen=True, slots=True)
class Write:
    """A button that writes a value; with ``question`` it asks first."""

    box: Box
    text: str
    pv: str
    value: int
    question: str = ""


@dataclass(frozen=True, slots=True)
class Open:
    """A button that opens another screen; on a lamp it has no background of its own."""

    box: Box
    text: str
    screen: str
    macros: Mapping[str, str] = field(default_factory=dict[str, str])
    on_lamp: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """A horizontal bar from 0 to ``maximum``."""

    box: Box
    pv: str
    maximum: int


@dataclass(frozen=True, slots=True)
class Picture:
    """A live image: an NTNDArray over PV Access."""

    box: Box
    pv: str


Widget = Panel | Label | PvText | Lamp | Entry | Choice | Write | Open | Bar | Picture


@dataclass(frozen=True, slots=True)
class ScreenPlan:
    """A screen; ``macros`` are those that it needs, with the values of one that can be looked at."""

    name: str
    title: str
    width: int
    height: int
    macros: Mapping[str, str]
    widgets: tuple[Widget, ...]

    def pvs(self) -> Iterator[str]:
        """Yield the names of all PVs that it shows or writes, with their macros."""
        for widget in self.widgets:
            if not isinstance(widget, Panel | Label | Open):
                yield widget.pv
