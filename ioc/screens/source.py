"""The screens of one source: a UDP module, or the PvMonitor of a camera. Both take the macros P and M."""

from collections.abc import Iterator
from typing import Final

from ioc.screens.layout import HEADING_HEIGHT, HEALTH_HEIGHT, PITCH, Form, health, panel
from ioc.screens.look import BUTTON_HEIGHT, GRID, ROW
from ioc.screens.parts import Parts, Source
from ioc.screens.widgets import Box, ScreenPlan, Widget, Write

_WIDTH: Final = 1100
_COLUMN: Final = (_WIDTH - 4 * GRID) // 3
_ROWS: Final = 20
_PVS: Final = "$(P)$(M):"

_MODULE_LOSSES: Final = (
    ("Packets lost", "PacketsLostRecently_RBV"),
    ("Dropped by kernel", "KernelDroppedRecently_RBV"),
    ("Ring full", "Dma:OverrunsRecently_RBV"),
    ("Whole frames lost", "EmptyRecently_RBV"),
    ("No free slot", "ExhaustedRecently_RBV"),
    ("Open when killed", "AbandonedRecently_RBV"),
    ("Unknown losses", "OutagesRecently_RBV"),
    ("Bad pulse ids", "BadPulseRecently_RBV"),
    ("Alien packets", "AlienRecently_RBV"),
    ("Malformed packets", "MalformedRecently_RBV"),
)
_MODULE_TOTALS: Final = (
    ("Packets received", "PacketsReceived_RBV"),
    ("Packets lost", "PacketsLost_RBV"),
    ("Frames complete", "FramesComplete_RBV"),
    ("Frames incomplete", "FramesIncomplete_RBV"),
    ("Frames lost", "FramesEmpty_RBV"),
    ("Frames delivered", "FramesDelivered_RBV"),
)
_CAMERA_LOSSES: Final = (
    ("Updates missed", "MissedRecently_RBV"),
    ("Events without image", "EmptyRecently_RBV"),
    ("Images timed out", "TimedOutRecently_RBV"),
    ("Images too old", "TooOldRecently_RBV"),
    ("Images expired", "ExpiredRecently_RBV"),
    ("No free slot", "ExhaustedRecently_RBV"),
    ("Events missed", "L1MissedRecently_RBV"),
    ("Events, no slot", "L1ExhaustedRecently_RBV"),
    ("Images truncated", "TruncatedRecently_RBV"),
    ("Decoding failed", "DecodeRecently_RBV"),
)
_CAMERA_TOTALS: Final = (
    ("Updates", "Updates_RBV"),
    ("Updates matched", "Match_RBV"),
    ("Updates missed", "Missed_RBV"),
    ("Timing events", "L1Accepts_RBV"),
    ("Events placed", "Placed_RBV"),
    ("Reconnects", "Reconnects_RBV"),
)


def module(parts: Parts, source: Source) -> ScreenPlan:
    """Return the screen of a UDP module; ``source`` is the one that it shows when no other is asked for."""
    return _screen("module", "Module $(M)", parts, source)


def camera(parts: Parts, source: Source) -> ScreenPlan:
    """Return the screen of a camera's PvMonitor."""
    return _screen("camera", "Camera $(M)", parts, source)


def _screen(name: str, title: str, parts: Parts, source: Source) -> ScreenPlan:
    top = HEALTH_HEIGHT + 2 * GRID
    box = Box(GRID, top, _COLUMN, HEADING_HEIGHT + _ROWS * PITCH)
    second = box._replace(x=box.x + _COLUMN + GRID)
    third = second._replace(x=second.x + _COLUMN + GRID)
    widgets = (
        *health("$(M)", _WIDTH),
        *_worker(box, source),
        *_losses(second, source),
        *_pools(third, parts),
    )
    macros = {"P": parts.prefix, "M": source.name}
    return ScreenPlan(name, title, _WIDTH, top + box.height + GRID, macros, widgets)


def _form(box: Box) -> Form:
    return Form(box.x + GRID, box.y + HEADING_HEIGHT, box.width - 2 * GRID, 145)


def _worker(box: Box, source: Source) -> Iterator[Widget]:
    yield from panel(box, "Worker")
    form = _form(box)
    form.state("State", f"{_PVS}State_RBV", source.template)
    form.state("Run", f"{_PVS}RunState_RBV", "run_state.template")
    form.text("Message", f"{_PVS}Message_RBV", lines=2)
    form.reading("Pulse id", f"{_PVS}PulseId_RBV", units=False)
    form.reading("Frames", f"{_PVS}FrameRate_RBV")
    form.reading("Packets or updates", f"{_PVS}PacketRate_RBV")
    form.scaled("Data", f"{_PVS}DataRate_RBV", 1e6, "MB/s")
    if source.is_module:
        form.reading("Senders", f"{_PVS}Senders_RBV", units=False)
        form.reading("Frame number", f"{_PVS}FrameIndex_RBV", units=False)
    else:
        form.text("PV", f"{_PVS}Pv_RBV")
        form.reading("Connected", f"{_PVS}Connected_RBV")
        form.reading("Shape", f"{_PVS}Shape_RBV")
        form.reading("Pixel type", f"{_PVS}Dtype_RBV")
    form.reading("Restarts", f"{_PVS}Restarts_RBV", units=False)
    form.reading("Process", f"{_PVS}Pid_RBV", units=False)
    form.reading("Version", f"{_PVS}Version_RBV")
    yield from form.widgets
    button = Box(form.x, form.y + GRID, 90, BUTTON_HEIGHT)
    yield Write(button, "Run", f"{_PVS}Run", 1)
    question = "Stop the worker? No data is taken without it."
    yield Write(button._replace(x=button.x + 100), "Stop", f"{_PVS}Run", 0, question)
    button = button._replace(x=button.x + 200, width=130)
    yield Write(button, "Set totals to 0", f"{_PVS}ResetCounters", 1, "Set all totals to 0?")


def _losses(box: Box, source: Source) -> Iterator[Widget]:
    yield from panel(box, "Lost recently")
    form = _form(box)
    for name, pv in _MODULE_LOSSES if source.is_module else _CAMERA_LOSSES:
        form.loss(name, f"{_PVS}{pv}")
    yield from form.widgets
    top = form.y + GRID
    yield from panel(Box(box.x, top, box.width, ROW), "Totals")
    totals = Form(form.x, top + HEADING_HEIGHT, form.width, form.label_width)
    for name, pv in _MODULE_TOTALS if source.is_module else _CAMERA_TOTALS:
        totals.reading(name, f"{_PVS}{pv}")
    totals.reading("Since", f"{_PVS}ResetTime_RBV")
    yield from totals.widgets


def _pools(box: Box, parts: Parts) -> Iterator[Widget]:
    yield from panel(box, "Pools and outputs")
    form = _form(box)
    form.reading("Ring in use", f"{_PVS}Dma:InUse_RBV")
    form.reading("Ring, most", f"{_PVS}Dma:HighWater_RBV")
    form.reading("Ring buffers", f"{_PVS}Dma:Count_RBV")
    form.reading("Pebble in use", f"{_PVS}Pebble:InUse_RBV")
    form.reading("Pebble, most", f"{_PVS}Pebble:HighWater_RBV")
    form.reading("Pebble slots", f"{_PVS}Pebble:Count_RBV")
    form.loss("Slots refused recently", f"{_PVS}Pebble:ExhaustedRecently_RBV", units=False)
    for output in (*(["Disk"] if parts.has_disk else []), "Zmq"):
        form.y += 6
        form.state(output, f"{_PVS}{output}:State_RBV", "output.template")
        form.reading("Written", f"{_PVS}{output}:Written_RBV")
        form.reading("Queued", f"{_PVS}{output}:Queued_RBV")
        form.loss("Dropped recently", f"{_PVS}{output}:DroppedRecently_RBV")
        form.text("Message", f"{_PVS}{output}:Message_RBV")
    yield from form.widgets
