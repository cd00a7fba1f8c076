"""The screen of what is kept on disk."""

from typing import Final

from ioc.screens.layout import HEADING_HEIGHT, HEALTH_HEIGHT, PITCH, Form, health, panel
from ioc.screens.look import GRID, ROW
from ioc.screens.parts import Parts
from ioc.screens.widgets import Box, Entry, PvText, ScreenPlan, Widget

_WIDTH: Final = 800
_PVS: Final = "$(P)Retention:"


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
    height = now.y + now.height + GRID
    return ScreenPlan("retention", "Retention", _WIDTH, height, {"P": parts.prefix}, tuple(widgets))
