"""The screen of files: live images to HDF5, and files of what is already in the disk buffer. Macros P and D."""

from collections.abc import Iterator
from typing import Final

from ioc.screens.layout import HEADING_HEIGHT, HEALTH_HEIGHT, PITCH, Form, health, panel
from ioc.screens.look import BUTTON_HEIGHT, GRID, Size
from ioc.screens.parts import Parts
from ioc.screens.widgets import Alarm, Box, Choice, PvText, ScreenPlan, Widget, Write

_WIDTH: Final = 1000
_COLUMN: Final = (_WIDTH - 3 * GRID) // 2
_ROWS: Final = 15
_PVS: Final = "$(P)$(D)HDF1:"
_RETRO: Final = "$(P)$(D)Retro:"


def capture(parts: Parts) -> ScreenPlan:
    """Return the screen. Its macro D is the part of a detector's names behind the prefix, empty for the only one."""
    detector = parts.with_files[0]
    top = HEALTH_HEIGHT + 2 * GRID
    box = Box(GRID, top, _COLUMN, HEADING_HEIGHT + _ROWS * PITCH + GRID)
    second = box._replace(x=box.x + _COLUMN + GRID)
    low = Box(GRID, top + box.height + GRID, _WIDTH - 2 * GRID, HEADING_HEIGHT + 4 * PITCH + GRID)
    widgets: list[Widget] = [*health("Files", _WIDTH), *_settings(box), *_progress(second)]
    height = top + box.height + GRID
    if detector.retro:
        widgets += _retro(low)
        height = low.y + low.height + GRID
    macros = {"P": parts.prefix, "D": detector.part}
    return ScreenPlan("capture", "Files $(D)", _WIDTH, height, macros, tuple(widgets))


def _settings(box: Box) -> Iterator[Widget]:
    yield from panel(box, "Next file")
    form = Form(box.x + GRID, box.y + HEADING_HEIGHT, box.width - 2 * GRID)
    form.entry("Folder", f"{_PVS}FilePath", long=True)
    form.entry("Name", f"{_PVS}FileName", long=True)
    form.entry("Template", f"{_PVS}FileTemplate", long=True)
    form.entry("Number", f"{_PVS}FileNumber")
    form.entry("Images, 0 without end", f"{_PVS}NumCapture")
    form.entry("First pulse id", f"{_PVS}StartPulse")
    form.entry("Last pulse id", f"{_PVS}StopPulse")
    for name, pv in (
        ("Compression", "Compression"),
        ("Auto increment", "AutoIncrement"),
        ("Lazy open", "LazyOpen"),
    ):
        place = form.place(name)
        form.widgets.append(Choice(place._replace(width=130), f"{_PVS}{pv}"))
    form.reading("Folder exists", f"{_PVS}FilePathExists_RBV")
    form.scaled("Free", f"{_PVS}Free_RBV", 1e9, "GB")
    yield from form.widgets
    y = form.y + GRID
    yield Write(Box(form.x, y, 110, BUTTON_HEIGHT), "Capture", f"{_PVS}Capture", 1)
    yield Write(Box(form.x + 120, y, 110, BUTTON_HEIGHT), "End", f"{_PVS}Capture", 0)


def _progress(box: Box) -> Iterator[Widget]:
    yield from panel(box, "This file")
    form = Form(box.x + GRID, box.y + HEADING_HEIGHT, box.width - 2 * GRID)
    form.state("State", f"{_PVS}State_RBV", "hdf5.template")
    form.reading("Result", f"{_PVS}WriteStatus_RBV")
    form.text("Reason", f"{_PVS}WriteMessage_RBV")
    form.text("File", f"{_PVS}FullFileName_RBV", size=Size.SMALL)
    form.reading("Images", f"{_PVS}NumCaptured_RBV", units=False)
    form.reading("Images wanted", f"{_PVS}NumWanted_RBV", units=False)
    form.reading("Zero-filled", f"{_PVS}NumFilled_RBV")
    form.reading("Damaged", f"{_PVS}NumDamaged_RBV")
    form.loss("Dropped recently", f"{_PVS}DroppedRecently_RBV")
    form.loss("Overwritten recently", f"{_PVS}OverwrittenRecently_RBV")
    form.reading("Queued", f"{_PVS}QueueUse_RBV")
    form.reading("Rate", f"{_PVS}ArrayRate_RBV")
    form.text("Balance", f"{_PVS}Balance_RBV", lines=2)
    form.text("Message", f"{_PVS}Message_RBV", lines=2)
    yield from form.widgets


def _retro(box: Box) -> Iterator[Widget]:
    yield from panel(box, "A file of what is in the disk buffer: pulse ids, or seconds before now as negative numbers")
    left = Form(box.x + GRID, box.y + HEADING_HEIGHT, _COLUMN - 2 * GRID)
    left.entry("From", f"{_RETRO}Start")
    left.entry("To", f"{_RETRO}Stop")
    left.entry("Folder", f"{_RETRO}FilePath", long=True)
    left.entry("Name", f"{_RETRO}FileName", long=True)
    right = Form(box.x + _COLUMN + 2 * GRID, box.y + HEADING_HEIGHT, _COLUMN - 2 * GRID)
    place = right.place("Kind")
    right.widgets.append(Choice(place._replace(width=130), f"{_RETRO}Mode"))
    right.widgets.append(Write(place._replace(x=place.x + 140, width=90), "Write", f"{_RETRO}Write", 1))
    right.state("State", f"{_RETRO}WriteStatus_RBV", "retro.template")
    right.text("File", f"{_RETRO}FullFileName_RBV", size=Size.SMALL)
    place = right.place("Images, reason")
    right.widgets.append(PvText(place._replace(width=80), f"{_RETRO}NumImages_RBV", alarm=Alarm.SEVERITY))
    message = place._replace(x=place.x + 80, width=place.width - 80)
    right.widgets.append(PvText(message, f"{_RETRO}Message_RBV", long=True))
    yield from left.widgets
    yield from right.widgets
