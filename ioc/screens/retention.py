"""The screen of what is kept on disk."""

from collections.abc import Iterator, Sequence
from typing import Final

from ioc.screens.layout import HEADING_HEIGHT, HEALTH_HEIGHT, PITCH, Form, health, panel, state
from ioc.screens.look import GRID, MUTED, ROW
from ioc.screens.parts import Parts
from ioc.screens.widgets import Alarm, Box, Entry, Label, PvText, ScreenPlan, Widget

_WIDTH: Final = 800
_PVS: Final = "$(P)Retention:"
_COLUMNS: Final = (
    ("Host", 100, ""),
    ("State", 110, "State_RBV"),
    ("Held, GB", 90, "Held_RBV"),
    ("Free, GB", 90, "Free_RBV"),
    ("Deleted, GB", 90, "DeletedBytes_RBV"),
    ("Reason", 240, "Message_RBV"),
)
"""Columns of the table of hosts, their widths in pixels, and their records."""


def retention(parts: Parts) -> ScreenPlan:
    """Return the screen."""
    top = HEALTH_HEIGHT + 2 * GRID
    limits = Box(GRID, top, _WIDTH - 2 * GRID, HEADING_HEIGHT + 4 * PITCH + GRID)
    now = Box(GRID, limits.y + limits.height + GRID, limits.width, HEADING_HEIGHT + 11 * PITCH + GRID)
    widgets: list[Widget] = [*health("Retention", _WIDTH), *panel(limits, "Limits, 0 for none")]
    form = Form(limits.x + GRID, limits.y + HEADING_HEIGHT, limits.width - 2 * GRID, 190)
    for name, pv in (
        ("Keep at most, GiB", "KeepSize"),
        ("Keep for, h", "KeepHours"),
        ("Leave free, GiB", "KeepFree"),
    ):
        place = form.place(name)
        form.widgets.append(Entry(place._replace(width=120), f"{_PVS}{pv}"))
        in_use = Box(place.x + 130, place.y, 200, ROW)
        form.widgets.append(PvText(in_use, f"{_PVS}{pv}_RBV", units=True))
    form.entry("Folder", "$(P)Disk:Folder", long=True)
    widgets += [*form.widgets, *panel(now, "Now")]
    form = Form(now.x + GRID, now.y + HEADING_HEIGHT, now.width - 2 * GRID, 190)
    form.state("State", f"{_PVS}State_RBV", "retention.template")
    form.text("Reason", f"{_PVS}Message_RBV")
    form.text("Last deletion", f"{_PVS}LastAction_RBV")
    form.scaled("Held", f"{_PVS}Held_RBV", 1e9, "GB")
    form.scaled("Free", f"{_PVS}Free_RBV", 1e9, "GB")
    form.reading("Files", f"{_PVS}Files_RBV", units=False)
    form.reading("Oldest pulse id", f"{_PVS}OldestPulse_RBV", units=False)
    form.reading("Age of the oldest", f"{_PVS}OldestAge_RBV")
    form.reading("Deleted", f"{_PVS}DeletedFiles_RBV")
    form.scaled("Deleted", f"{_PVS}DeletedBytes_RBV", 1e9, "GB")
    form.loss("Deletions failed", f"{_PVS}Errors_RBV")
    widgets += form.widgets
    end = now.y + now.height + GRID
    if parts.kept_hosts:
        height = HEADING_HEIGHT + PITCH * (len(parts.kept_hosts) + 1) + GRID
        widgets += _hosts(Box(GRID, end, limits.width, height), parts.kept_hosts)
        end += height + GRID
    return ScreenPlan("retention", "Retention", _WIDTH, end, {"P": parts.prefix}, tuple(widgets))


def _hosts(box: Box, hosts: Sequence[str]) -> Iterator[Widget]:
    """Yield the table of what each host keeps."""
    yield from panel(box, "Hosts")
    x, y = box.x + GRID, box.y + HEADING_HEIGHT
    for name, width, record in _COLUMNS:
        yield Label(Box(x, y, width, ROW), name, colour=MUTED)
        for row, host in enumerate(hosts, 1):
            place, pv = Box(x, y + row * PITCH, width, ROW), f"$(P){host}:Retention:{record}"
            if not record:
                yield Label(place, host, bold=True)
            elif name == "State":
                yield from state(place, pv, "keeper.template")
            elif name == "Reason":
                yield PvText(place, pv, long=True)
            else:
                yield PvText(place, pv, divisor=1e9, alarm=Alarm.NONE)
        x += width + 4
