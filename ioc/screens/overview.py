"""The screen of everything: is the data good, and where is it lost."""

from collections.abc import Iterator
from typing import Final

from ioc.screens import hosts
from ioc.screens.layout import HEADING_HEIGHT, HEALTH_HEIGHT, PITCH, Form, health, panel, state
from ioc.screens.look import BUTTON_HEIGHT, GRID, MUTED, ROW, WHITE, Size
from ioc.screens.parts import Parts, Source
from ioc.screens.states import colours
from ioc.screens.widgets import (
    Alarm,
    Align,
    Bar,
    Box,
    Label,
    Lamp,
    Open,
    Panel,
    Picture,
    PvText,
    ScreenPlan,
    Widget,
    Write,
)
from ioc.templates import Detector

_WIDTH: Final = 1280
_LEFT: Final = 560
"""Width of the left column, which has the image, pixels."""
_TOP: Final = HEALTH_HEIGHT + 2 * GRID
_CONTROL_HEIGHT: Final = 64
_BODY_HEIGHT: Final = 560
_TILES_HEIGHT: Final = 290
_TILE_HEIGHT: Final = 170
"""At most, pixels."""
_IMAGES: Final = 2
_DETECTORS: Final = 3
_FILES: Final = 3
"""So many detectors are shown with their images, states, and names of files."""
_MANY: Final = 25
"""With more sources than this a tile has no room for the state in words."""


def overview(parts: Parts) -> ScreenPlan:
    """Return the overview of a configuration."""
    body = _TOP + _CONTROL_HEIGHT + GRID
    table = body + _BODY_HEIGHT + GRID
    table_height = HEADING_HEIGHT + PITCH * (len(parts.sources) + 1) + GRID
    end = table + table_height + GRID
    hosts_height = hosts.table_height(parts)
    right = Box(_LEFT + 2 * GRID, body, _WIDTH - _LEFT - 3 * GRID, _TILES_HEIGHT)
    below = right._replace(y=right.y + _TILES_HEIGHT + GRID, height=_BODY_HEIGHT - _TILES_HEIGHT - GRID)
    half = (right.width - GRID) // 2
    widgets: list[Widget] = [
        *health(parts.name, _WIDTH),
        *_control(Box(GRID, _TOP, _WIDTH - 2 * GRID, _CONTROL_HEIGHT), parts),
        *_images(Box(GRID, body, _LEFT, _BODY_HEIGHT), parts),
        *_mosaic(right, parts.sources),
        *_disk(below._replace(width=half), parts),
        *_files(below._replace(x=below.x + half + GRID, width=below.width - half - GRID), parts),
        *_table(Box(GRID, table, _WIDTH - 2 * GRID, table_height), parts),
    ]
    if parts.hosts:
        widgets += hosts.table(Box(GRID, end, _WIDTH - 2 * GRID, hosts_height), parts)
        end += hosts_height + GRID
    return ScreenPlan("overview", f"{parts.name}: overview", _WIDTH, end, {"P": parts.prefix}, tuple(widgets))


def _control(box: Box, parts: Parts) -> Iterator[Widget]:
    yield Panel(box)
    y = box.y + 22
    yield Write(Box(box.x + GRID, y, 90, BUTTON_HEIGHT), "Start", "$(P)Acquire", 1)
    yield Write(Box(box.x + 110, y, 90, BUTTON_HEIGHT), "Stop", "$(P)Acquire", 0)
    states = [("Run", "$(P)RunState_RBV", "detector.template")]
    states += [
        (detector.name or "Detector", f"$(P){detector.part}cam1:DetectorState_RBV", "cam.template")
        for detector in parts.detectors[:_DETECTORS]
    ]
    if parts.has_stream:
        states.append(("Image stream", "$(P)Stream:State_RBV", "stream.template"))
    for number, (name, pv, template) in enumerate(states):
        place = Box(box.x + 220 + number * 130, y, 120, BUTTON_HEIGHT)
        yield Label(place._replace(y=box.y + 4, height=18), name, Size.SMALL, colour=MUTED)
        yield from state(place, pv, template)
    found = [("Retention", "retention")] if parts.has_disk else []
    found.append(("Expert", "expert"))
    for number, (text, screen) in enumerate(reversed(found), 1):
        yield Open(Box(box.x + box.width - 120 * number, y, 110, BUTTON_HEIGHT), text, screen)


def _images(box: Box, parts: Parts) -> Iterator[Widget]:
    shown = parts.with_images[:_IMAGES]
    if not shown:
        yield from panel(box, "Image")
        text = "This configuration has no table [images]."
        yield Label(box._replace(height=ROW, y=box.y + box.height // 2), text, align=Align.CENTRE, colour=MUTED)
    height = (box.height - GRID * (len(shown) - 1)) // max(1, len(shown))
    for number, detector in enumerate(shown):
        place = box._replace(y=box.y + number * (height + GRID), height=height)
        yield from _image(place, detector.name or "Image", f"$(P){detector.part}Pva1:")


def _image(box: Box, name: str, pvs: str) -> Iterator[Widget]:
    yield from panel(box, name, 100)
    x = box.x + 110
    for text, pv, width in (("pulse", "PulseId_RBV", 150), ("images/s", "PreviewRate_RBV", 60)):
        yield Label(Box(x, box.y + 6, 60, ROW), text, colour=MUTED, align=Align.RIGHT)
        yield PvText(Box(x + 60, box.y + 6, width, ROW), f"{pvs}{pv}")
        x += 60 + width
    yield from state(Box(box.x + box.width - 110, box.y + 6, 100, ROW), f"{pvs}State_RBV", "pva1.template")
    top = HEADING_HEIGHT
    yield Picture(Box(box.x + GRID, box.y + top, box.width - 2 * GRID, box.height - top - GRID), f"{pvs}Preview")


def _mosaic(box: Box, sources: tuple[Source, ...]) -> Iterator[Widget]:
    yield from panel(box, "Modules and cameras: state, frames/s, lost recently")
    gap = GRID // 2
    width, height = box.width - 2 * GRID + gap, box.height - HEADING_HEIGHT - GRID + gap
    columns = _columns(len(sources))
    rows = -(-len(sources) // columns)
    step_x, step_y = width // columns, min(height // rows, _TILE_HEIGHT)
    for number, source in enumerate(sources):
        row, column = divmod(number, columns)
        place = Box(box.x + GRID + column * step_x, box.y + HEADING_HEIGHT + row * step_y, step_x - gap, step_y - gap)
        yield from _tile(place, source, in_words=len(sources) <= _MANY)


def _columns(count: int) -> int:
    """Return how many tiles are in a row, so that they are wider than high."""
    return next(n for n in range(3, count + 3) if count <= n * n)


def _tile(box: Box, source: Source, *, in_words: bool) -> Iterator[Widget]:
    template = source.template
    yield Lamp(box, f"{source.pvs}State_RBV", colours(template, "State_RBV"))
    line = min(ROW, box.height // 2)
    name = box._replace(width=box.width // 3 if in_words else box.width, height=line)
    yield Open(name, source.name, source.screen, {"M": source.name}, on_lamp=True)
    if in_words and box.height >= 3 * line:
        third = box.width // 3
        right = Box(box.x + third, box.y, box.width - third, line)
        yield _on_lamp(right, f"{source.pvs}State_RBV")
        yield _on_lamp(right._replace(y=box.y + line), f"{source.pvs}FrameRate_RBV")
    large = box.height >= 4 * ROW
    line, size = (ROW + 12, Size.HEADLINE) if large else (line, Size.TEXT)
    lost = Box(box.x, box.y + box.height - line, box.width, line)
    yield PvText(lost, _lost(source), size, bold=True, colour=WHITE, alarm=Alarm.LOSS, units=in_words)


def _on_lamp(box: Box, pv: str) -> PvText:
    return PvText(box, pv, align=Align.RIGHT, colour=WHITE, alarm=Alarm.LAMP, units=True)


def _lost(source: Source) -> str:
    return f"{source.pvs}{'PacketsLostRecently_RBV' if source.is_module else 'MissedRecently_RBV'}"


def _disk(box: Box, parts: Parts) -> Iterator[Widget]:
    yield from panel(box, "Disk and streams")
    form = Form(box.x + GRID, box.y + HEADING_HEIGHT, box.width - 2 * GRID, 120)
    if parts.has_disk:
        form.state("Retention", "$(P)Retention:State_RBV", "retention.template")
        form.scaled("Free", "$(P)Retention:Free_RBV", 1e9, "GB")
        form.scaled("Held", "$(P)Retention:Held_RBV", 1e9, "GB")
    if parts.has_stream:
        form.reading("Images", "$(P)Stream:FrameRate_RBV")
        form.reading("Missing modules", "$(P)Stream:Missing_RBV", units=False)
    for output in parts.outputs[:2]:
        form.state(f"Stream {output.lower()}", f"$(P)Stream:{output}:State_RBV", "output.template")
    yield from form.widgets


def _files(box: Box, parts: Parts) -> Iterator[Widget]:
    yield from panel(box, "Files", 100)
    form = Form(box.x + GRID, box.y + HEADING_HEIGHT, box.width - 2 * GRID, 80)
    if not parts.with_files:
        form.place("This configuration has no table [hdf5].")
    elif len(parts.with_files) == 1:
        _file(form, parts.with_files[0])
    else:
        for text, x, width in (("images", 180, 80), ("lost", 265, 55)):
            yield Label(Box(form.x + x, box.y + 6, width, ROW), text, align=Align.CENTRE, colour=MUTED)
        for detector in parts.with_files[: _FILES if len(parts.with_files) <= _FILES else 2 * _FILES]:
            _file_line(form, detector, with_name=len(parts.with_files) <= _FILES)
    yield from form.widgets


def _file(form: Form, detector: Detector) -> None:
    pvs = f"$(P){detector.part}HDF1:"
    form.state("State", f"{pvs}State_RBV", "hdf5.template")
    form.entry("Name", f"{pvs}FileName", long=True)
    form.text("Last file", f"{pvs}FullFileName_RBV", lines=2, size=Size.SMALL)
    form.reading("Images", f"{pvs}NumCaptured_RBV", units=False)
    form.loss("Lost recently", f"{pvs}DroppedRecently_RBV")
    button = Box(form.x, form.y + 4, 100, BUTTON_HEIGHT)
    form.widgets.append(Write(button, "Capture", f"{pvs}Capture", 1))
    form.widgets.append(Write(button._replace(x=button.x + 110), "End", f"{pvs}Capture", 0))
    form.widgets.append(Open(button._replace(x=button.x + 220, width=90), "More", "capture", {"D": detector.part}))


def _file_line(form: Form, detector: Detector, *, with_name: bool) -> None:
    """Add a detector among others: the state of its file, images in it, and images lost."""
    pvs = f"$(P){detector.part}HDF1:"
    box = Box(form.x, form.y, 75, ROW)
    form.widgets.append(Open(box, detector.name, "capture", {"D": detector.part}))
    form.widgets += state(Box(form.x + 80, form.y, 100, ROW), f"{pvs}State_RBV", "hdf5.template")
    images = Box(form.x + 180, form.y, 80, ROW)
    form.widgets.append(PvText(images, f"{pvs}NumCaptured_RBV", align=Align.CENTRE))
    lost = Box(form.x + 265, form.y, 55, ROW)
    form.widgets.append(PvText(lost, f"{pvs}DroppedRecently_RBV", bold=True, align=Align.CENTRE, alarm=Alarm.LOSS))
    form.y += PITCH
    if with_name:
        form.entry("Name", f"{pvs}FileName", long=True)
        form.y += 6


_COLUMNS: Final = (
    ("Source", 90),
    ("State", 120),
    ("Frames/s", 80),
    ("MB/s", 80),
    ("Pebble in use", 170),
    ("Most", 60),
    ("Of", 60),
    ("Packets", 80),
    ("Frames", 80),
    ("No slot", 80),
    ("Disk", 80),
    ("ZMQ", 80),
    ("Output to disk", 120),
)
"""Columns of the table and their widths, pixels."""
_FIRST_LOSS: Final = 7
_LOST: Final = "Lost recently"


def _table(box: Box, parts: Parts) -> Iterator[Widget]:
    before = sum(width + 4 for _, width in _COLUMNS[:_FIRST_LOSS])
    yield from panel(box, "Rates and pools", before)
    y = box.y + HEADING_HEIGHT
    yield Label(Box(box.x + GRID + before, box.y + 6, 420, ROW), _LOST, Size.HEADING, bold=True, align=Align.CENTRE)
    yield from _cells(
        box.x + GRID,
        [
            Label(Box(0, y, width, ROW), name, align=Align.LEFT if name == "Source" else Align.CENTRE, colour=MUTED)
            for name, width in _COLUMNS
        ],
    )
    for number, source in enumerate(parts.sources, 1):
        yield from _row(box.x + GRID, y + number * PITCH, source, parts)


def _cells(x: int, cells: list[Label]) -> Iterator[Widget]:
    for cell, (_, width) in zip(cells, _COLUMNS, strict=True):
        yield Label(cell.box._replace(x=x), cell.text, align=cell.align, colour=cell.colour)
        x += width + 4


def _row(x: int, y: int, source: Source, parts: Parts) -> Iterator[Widget]:
    places: list[Box] = []
    for _, width in _COLUMNS:
        places.append(Box(x, y, width, ROW))
        x += width + 4
    pvs, template = source.pvs, source.template
    yield Open(places[0], source.name, source.screen, {"M": source.name})
    yield from state(places[1], f"{pvs}State_RBV", template)
    yield PvText(places[2], f"{pvs}FrameRate_RBV", align=Align.RIGHT)
    yield PvText(places[3], f"{pvs}DataRate_RBV", align=Align.RIGHT, divisor=1e6, alarm=Alarm.NONE)
    yield Bar(places[4], f"{pvs}Pebble:InUse_RBV", source.slots)
    yield PvText(places[5], f"{pvs}Pebble:HighWater_RBV", align=Align.RIGHT)
    yield PvText(places[6], f"{pvs}Pebble:Count_RBV", align=Align.RIGHT, colour=MUTED)
    lost = [_lost(source), f"{pvs}EmptyRecently_RBV", f"{pvs}ExhaustedRecently_RBV"]
    lost += [f"{pvs}Disk:DroppedRecently_RBV"] if parts.has_disk else [""]
    lost.append(f"{pvs}Zmq:DroppedRecently_RBV")
    for place, pv in zip(places[7:12], lost, strict=True):
        if pv:
            yield PvText(place, pv, bold=True, align=Align.CENTRE, alarm=Alarm.LOSS)
    if parts.has_disk:
        yield from state(places[12], f"{pvs}Disk:State_RBV", "output.template")
