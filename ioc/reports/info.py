"""What ``info`` says of a buffer."""

import dataclasses
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from detectors.buffer.inventory import Inventory
from detectors.buffer.reader import BufferReader
from detectors.pools.sizing import size_text
from ioc.reports.output import console

_WIDTH: Final = 100
_MOST_RANGES: Final = 10


def as_dict(reader: BufferReader, found: Inventory) -> dict[str, Any]:
    """Return what a buffer holds, with every range, as JSON has it."""
    frames = {"folder": str(reader.data_set.path), "shape": reader.info.shape, "dtype": reader.info.dtype}
    return frames | dataclasses.asdict(found)


def show(folder: Path, frames: str, found: Inventory) -> None:
    """Print what a detector's folder holds; ``frames`` says what a frame is made of."""
    out = console(_WIDTH)
    size = sum(module.disk_bytes for module in found.modules.values())
    out.print(
        f"{folder}: {len(found.modules)} modules of {frames}, {size_text(size)} on disk",
        soft_wrap=True,
    )
    images = f"{found.whole} pulses of all modules, {found.partial} of some only, {found.step} apart"
    out.print(images, style="" if not found.partial else "yellow")
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("module")
    for name in ("pulses", "first", "last", "holes", "ranges", "incomplete", "damaged", "torn"):
        table.add_column(name, justify="right")
    for name, module in found.modules.items():
        first, last = (module.ranges[0][0], module.ranges[-1][1]) if module.ranges else ("", "")
        figures = (module.records, first, last, module.holes, len(module.ranges))
        bad = (module.incomplete, module.damaged, module.torn)
        table.add_row(name, *map(str, (*figures, *bad)), style="yellow" if any((module.holes, *bad)) else "")
    out.print(table)
    times = [(m.begin_ns, m.end_ns) for m in found.modules.values() if m.begin_ns]
    if times:
        begin, end = min(begin for begin, _ in times), max(end for _, end in times)
        out.print(f"taken from {_time(begin)} to {_time(end)}")
    for name, module in found.modules.items():
        if len(module.ranges) > 1:
            shown = ", ".join(f"{start} to {stop}" for start, stop in module.ranges[:_MOST_RANGES])
            more = len(module.ranges) - _MOST_RANGES
            out.print(f"{name} holds {shown}" + (f" and {more} ranges more" if more > 0 else ""))
    for reason in found.unreadable:
        out.print(reason, style="red", soft_wrap=True)


def _time(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9).astimezone().isoformat(" ", "seconds")
