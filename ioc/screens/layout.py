"""Parts that all screens have: the line of health at the top, panels with a heading, forms and rows."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from ioc.screens.look import GRID, MUTED, ROW, WHITE, Size
from ioc.screens.states import colours
from ioc.screens.widgets import Alarm, Align, Box, Entry, Label, Lamp, Panel, PvText, Widget

HEALTH_HEIGHT = 54
HEADING_HEIGHT = 36
"""Of a panel, with the room below."""
PITCH = ROW + 4
"""From one row of a form to the next, pixels."""
_NARROW = 1200
"""Screens of this width have a smaller type in the line of health, pixels."""


def health(title: str, width: int) -> Iterator[Widget]:
    """Yield the line at the top: what is worst of everything, in the colour of its severity."""
    box = Box(GRID, GRID, width - 2 * GRID, HEALTH_HEIGHT)
    size, name = (Size.HEADLINE, 200) if width > _NARROW else (Size.HEADING, 110)
    yield Lamp(box, "$(P)Alarm_RBV", colours("detector.template", "Alarm_RBV"))
    yield Label(Box(box.x + GRID, box.y, name, box.height), title, size, bold=True, colour=WHITE)
    yield PvText(
        Box(box.x + name + 2 * GRID, box.y, box.width - name - 3 * GRID, box.height),
        "$(P)Health_RBV",
        size,
        bold=True,
        colour=WHITE,
        alarm=Alarm.LAMP,
        long=True,
    )


def state(box: Box, pv: str, template: str) -> Iterator[Widget]:
    """Yield a lamp with the state of a PV in words on it; ``template`` is the one of its record."""
    yield Lamp(box, pv, colours(template, pv.rpartition(":")[2] if ":" in pv else pv.rpartition(")")[2]))
    yield PvText(box, pv, bold=True, align=Align.CENTRE, colour=WHITE, alarm=Alarm.LAMP)


def panel(box: Box, heading: str, heading_width: int | None = None) -> Iterator[Widget]:
    """Yield a panel with its heading, as wide as the panel unless there is something beside it."""
    yield Panel(box)
    width = heading_width or box.width - 2 * GRID
    yield Label(Box(box.x + GRID, box.y + 6, width, ROW), heading, Size.HEADING, bold=True)


@dataclass(slots=True)
class Form:
    """Rows of a name and what it has, from the top down."""

    x: int
    y: int
    width: int
    label_width: int = 150
    widgets: list[Widget] = field(default_factory=list[Widget])

    def place(self, name: str) -> Box:
        """Add a name, and return the place beside it."""
        self.widgets.append(Label(Box(self.x, self.y, self.label_width, ROW), name, colour=MUTED))
        found = Box(self.x + self.label_width, self.y, self.width - self.label_width, ROW)
        self.y += PITCH
        return found

    def reading(self, name: str, pv: str, *, units: bool = True) -> None:
        """Add a value."""
        self.widgets.append(PvText(self.place(name), pv, units=units))

    def text(self, name: str, pv: str, *, lines: int = 1, size: Size = Size.TEXT) -> None:
        """Add a text that may be long."""
        box = self.place(name)
        extra = (lines - 1) * (ROW - 6)
        self.widgets.append(PvText(box._replace(height=box.height + extra), pv, size, long=True))
        self.y += extra

    def scaled(self, name: str, pv: str, divisor: float, unit: str) -> None:
        """Add a value in a larger unit."""
        box = self.place(f"{name}, {unit}")
        self.widgets.append(PvText(box, pv, divisor=divisor, alarm=Alarm.NONE))

    def loss(self, name: str, pv: str, *, units: bool = True) -> None:
        """Add a number of things lost, red when there are any."""
        self.widgets.append(PvText(self.place(name), pv, alarm=Alarm.LOSS, units=units))

    def state(self, name: str, pv: str, template: str) -> None:
        """Add a state in its colour."""
        box = self.place(name)
        self.widgets += state(box._replace(width=min(box.width, 130)), pv, template)

    def entry(self, name: str, pv: str, *, long: bool = False) -> None:
        """Add a field to write into."""
        self.widgets.append(Entry(self.place(name), pv, long=long))
