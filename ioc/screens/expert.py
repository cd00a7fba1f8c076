"""The screen for experts: the IOC, the host, the run's transitions, and every worker."""

from collections.abc import Iterator
from typing import Final

from ioc.screens.layout import HEADING_HEIGHT, HEALTH_HEIGHT, PITCH, Form, health, panel, state
from ioc.screens.look import BUTTON_HEIGHT, GRID, MUTED, ROW
from ioc.screens.parts import Parts
from ioc.screens.widgets import Align, Box, Label, PvText, ScreenPlan, Widget, Write

_WIDTH: Final = 1000
_COLUMN: Final = (_WIDTH - 3 * GRID) // 2
_TRANSITIONS: Final = ("Configure", "BeginRun", "Enable", "Disable", "EndRun", "Unconfigure")
_COLUMNS: Final = (
    ("Worker", 110),
    ("State", 120),
    ("Running", 80),
    ("Process", 80),
    ("Restarts", 80),
    ("Recently", 80),
    ("Message", 380),
)


def expert(parts: Parts) -> ScreenPlan:
    """Return the screen."""
    top = HEALTH_HEIGHT + 2 * GRID
    left = Box(GRID, top, _COLUMN, HEADING_HEIGHT + 9 * PITCH)
    workers = list(_workers(parts))
    host = Box(GRID, top + left.height + GRID, _WIDTH - 2 * GRID, HEADING_HEIGHT + 4 * PITCH)
    low = Box(GRID, host.y + host.height + GRID, host.width, HEADING_HEIGHT + (len(workers) + 1) * PITCH + GRID)
    widgets = (
        *health("Expert", _WIDTH),
        *_server(left),
        *_run(left._replace(x=left.x + _COLUMN + GRID)),
        *panel(host, "Host warnings and remedies"),
        PvText(Box(host.x + GRID - 4, host.y + 30, host.width - 2 * GRID, 4 * PITCH), "$(P)Host_RBV", long=True),
        *_table(low, workers),
    )
    return ScreenPlan("expert", "Expert", _WIDTH, low.y + low.height + GRID, {"P": parts.prefix}, widgets)


def _server(box: Box) -> Iterator[Widget]:
    yield from panel(box, "IOC")
    form = Form(box.x + GRID, box.y + HEADING_HEIGHT, box.width - 2 * GRID)
    form.reading("Version", "$(P)Version_RBV")
    form.reading("Started", "$(P)StartTime_RBV")
    form.reading("Up", "$(P)Uptime_RBV")
    form.reading("Process", "$(P)Pid_RBV", units=False)
    form.reading("Workers to run", "$(P)Workers_RBV", units=False)
    form.reading("Workers running", "$(P)WorkersRunning_RBV", units=False)
    form.reading("Restarts", "$(P)WorkersRestarted_RBV", units=False)
    form.reading("Host warnings", "$(P)HostWarnings_RBV", units=False)
    yield from form.widgets


def _run(box: Box) -> Iterator[Widget]:
    yield from panel(box, "Run")
    form = Form(box.x + GRID, box.y + HEADING_HEIGHT, box.width - 2 * GRID)
    form.state("State", "$(P)RunState_RBV", "detector.template")
    form.reading("Commands refused", "$(P)Refused_RBV", units=False)
    form.text("Reason", "$(P)Message_RBV", lines=2)
    yield from form.widgets
    for number, name in enumerate(_TRANSITIONS):
        row, column = divmod(number, 3)
        place = Box(form.x + column * 150, form.y + GRID + row * (PITCH + GRID), 140, BUTTON_HEIGHT)
        yield Write(place, name, f"$(P){name}", 1)
    y = form.y + 2 * GRID + 2 * (PITCH + GRID)
    yield Write(Box(form.x, y, 140, BUTTON_HEIGHT), "Set totals to 0", "$(P)ResetCounters", 1, "Set all totals to 0?")


def _workers(parts: Parts) -> Iterator[tuple[str, str]]:
    """Yield how the names of each worker's PVs begin, and the template of its state."""
    for source in parts.sources:
        yield source.pvs, source.template
    if parts.has_stream:
        yield "$(P)Stream:", "stream.template"
    for detector in parts.with_files:
        yield f"$(P){detector.part}HDF1:", "hdf5.template"
    for detector in parts.with_images:
        yield f"$(P){detector.part}Pva1:", "pva1.template"
    if parts.has_web:
        yield "$(P)Web:", "web.template"
    if parts.has_process:
        yield "$(P)Process:", "process.template"


def _table(box: Box, workers: list[tuple[str, str]]) -> Iterator[Widget]:
    yield from panel(box, "Workers")
    y = box.y + HEADING_HEIGHT
    places: list[tuple[int, int]] = []
    x = box.x + GRID
    for name, width in _COLUMNS:
        align = Align.LEFT if name in {"Worker", "Message"} else Align.CENTRE
        yield Label(Box(x, y, width, ROW), name, align=align, colour=MUTED)
        places.append((x, width))
        x += width + 4
    for row, (pvs, template) in enumerate(workers, 1):
        boxes = [Box(x, y + row * PITCH, width, ROW) for x, width in places]
        yield Label(boxes[0], pvs.removeprefix("$(P)").rstrip(":"), bold=True)
        yield from state(boxes[1], f"{pvs}State_RBV", template)
        names = ("Running_RBV", "Pid_RBV", "Restarts_RBV", "RestartsRecently_RBV")
        for place, name in zip(boxes[2:6], names, strict=True):
            yield PvText(place, f"{pvs}{name}", align=Align.CENTRE)
        yield PvText(boxes[6], f"{pvs}Message_RBV", long=True)
