"""The table of hosts on the overview: who responds there, and their clocks."""

from collections.abc import Iterator
from typing import Final

from ioc.screens.layout import HEADING_HEIGHT, PITCH, panel, state
from ioc.screens.look import GRID, MUTED, ROW
from ioc.screens.parts import Parts
from ioc.screens.widgets import Align, Box, Label, PvText, Widget

_COLUMNS: Final = (
    ("Host", 110, ""),
    ("State", 120, "State_RBV"),
    ("Workers", 70, "WorkersResponding_RBV"),
    ("Of", 50, "Workers_RBV"),
    ("Clock off by", 120, "Clock:Offset_RBV"),
    ("Round trip", 120, "Clock:RoundTrip_RBV"),
    ("Clock", 130, "Clock:State_RBV"),
    ("Reason", 488, "Message_RBV"),
)
"""Columns of the table, their widths in pixels, and their records."""


def table_height(parts: Parts) -> int:
    """Return the height of the table; 0 when the configuration names no hosts."""
    return HEADING_HEIGHT + PITCH * (len(parts.hosts) + 1) + GRID if parts.hosts else 0


def table(box: Box, parts: Parts) -> Iterator[Widget]:
    """Yield the table."""
    yield from panel(box, "Hosts")
    x, y = box.x + GRID, box.y + HEADING_HEIGHT
    for name, width, record in _COLUMNS:
        is_text = name in {"Host", "Reason"}
        yield Label(Box(x, y, width, ROW), name, align=Align.LEFT if is_text else Align.CENTRE, colour=MUTED)
        for row, host in enumerate(parts.hosts, 1):
            place, pv = Box(x, y + row * PITCH, width, ROW), f"$(P){host}:{record}"
            if not record:
                yield Label(place, host, bold=True)
            elif name == "State":
                yield from state(place, pv, "host.template")
            else:
                measured = record.endswith(("Offset_RBV", "RoundTrip_RBV"))
                align = Align.LEFT if is_text else Align.RIGHT if measured else Align.CENTRE
                yield PvText(place, pv, align=align, units=measured, long=is_text)
        x += width + 4
