"""``pebbledaq info``: what is in a binary buffer."""

import dataclasses
import json
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from detectors.buffer.inventory import Inventory, take_inventory
from detectors.pools.sizing import size_text
from ioc.cli import arguments
from ioc.cli.buffers import bounds, find_detectors, open_buffer
from ioc.progress import progress

_WIDTH: Final = 100
_MOST_RANGES: Final = 10


@click.command("info")
@arguments.folder
@arguments.pulse_range
@arguments.module
@arguments.as_json
def command(folder: Path, start: int | None, stop: int | None, module: str | None, as_json: bool) -> None:
    """Show what a buffer holds: FOLDER is that of a detector, or the folder of several.

    JSON has every range. It reads heads and sidecars, no pixels: `verify` checks those.
    """
    trees: list[dict[str, Any]] = []
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH
    for detector in find_detectors(folder):
        with open_buffer(detector, module) as reader:
            with progress(f"info {detector.name}") as show:
                found = take_inventory(reader, *bounds(start, stop), show)
            if as_json:
                frames = {"folder": str(detector), "shape": reader.info.shape, "dtype": reader.info.dtype}
                trees.append(frames | dataclasses.asdict(found))
            else:
                _print(console, detector, reader.info.frames, found)
    if as_json:
        print(json.dumps(trees, indent=1))


def _print(console: Console, folder: Path, frames: str, found: Inventory) -> None:
    size = sum(module.disk_bytes for module in found.modules.values())
    console.print(
        f"{folder}: {len(found.modules)} modules of {frames}, {size_text(size)} on disk",
        highlight=False,
        soft_wrap=True,
    )
    images = f"{found.whole} pulses of all modules, {found.partial} of some only, {found.step} apart"
    console.print(images, style="" if not found.partial else "yellow", highlight=False)
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("module")
    for name in ("pulses", "first", "last", "holes", "ranges", "incomplete", "damaged", "torn"):
        table.add_column(name, justify="right")
    for name, module in found.modules.items():
        first, last = (module.ranges[0][0], module.ranges[-1][1]) if module.ranges else ("", "")
        figures = (module.records, first, last, module.holes, len(module.ranges))
        bad = (module.incomplete, module.damaged, module.torn)
        table.add_row(name, *map(str, (*figures, *bad)), style="yellow" if any((module.holes, *bad)) else "")
    console.print(table)
    times = [(m.begin_ns, m.end_ns) for m in found.modules.values() if m.begin_ns]
    if times:
        begin, end = min(begin for begin, _ in times), max(end for _, end in times)
        console.print(f"taken from {_time(begin)} to {_time(end)}", highlight=False)
    for name, module in found.modules.items():
        if len(module.ranges) > 1:
            shown = ", ".join(f"{start} to {stop}" for start, stop in module.ranges[:_MOST_RANGES])
            more = len(module.ranges) - _MOST_RANGES
            console.print(f"{name} holds {shown}" + (f" and {more} ranges more" if more > 0 else ""), highlight=False)
    for reason in found.unreadable:
        console.print(reason, style="red", highlight=False, soft_wrap=True)


def _time(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9).astimezone().isoformat(" ", "seconds")
