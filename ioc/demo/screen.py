"""Output of the demo while it runs: a live table on a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from detectors.stats import MonitorStatus, PoolStats, ReceiverStatus
from ioc.demo.audit import Line

_PLAIN_EVERY_S: Final = 5.0


class Screen:
    """Context manager; ``show`` may be called at any rate."""

    def __init__(self, console: Console, *, live: bool) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if live else None
        self._next_plain_s = 0.0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if self._live:
            self._stack.enter_context(self._live)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def show(self, title: str, snapshots: Mapping[str, Any]) -> None:
        """Show the present snapshots."""
        if self._live:
            self._live.update(_table(title, snapshots), refresh=True)
        elif time.monotonic() >= self._next_plain_s:
            self._next_plain_s = time.monotonic() + _PLAIN_EVERY_S
            for worker, status in snapshots.items():
                facts = ", ".join(f"{name} {value}" for name, value in _facts(status).items() if value)
                self._console.print(f"{title}  {worker}: {facts}", highlight=False, soft_wrap=True)


def _table(title: str, snapshots: Mapping[str, Any]) -> Table:
    """Return a table of one column a source: so it fits a terminal of 80 columns."""
    table = Table(title=title, title_justify="left", caption="pools: in use now / most ever / slots", min_width=72)
    facts = {worker: _facts(status) for worker, status in snapshots.items()}
    table.add_column("")
    for worker in facts:
        table.add_column(worker.split(".", 1)[1], justify="right", ratio=1)
    for name in next(iter(facts.values()), dict[str, str]()):
        table.add_row(name, *(cells[name] for cells in facts.values()))
    return table


def _facts(status: ReceiverStatus | MonitorStatus) -> dict[str, str]:
    if isinstance(status, ReceiverStatus):
        frames = status.frames.complete + status.frames.incomplete
        lost = f"{status.packets.lost} packets"
        transition = ""
    else:
        frames = status.updates.placed
        lost = f"{status.updates.missed + status.updates.exhausted} images"
        transition = _pool(status.transition)
    disk = status.disk
    return {
        "state": status.state,
        "rate": f"{status.rates.frames_hz:.0f}/s",
        "data": f"{status.rates.bytes_per_s / 1e6:.1f} MB/s",
        "frames": str(frames),
        "lost": lost,
        "DMA ring": f"{status.dma.in_use} / {status.dma.high_water} / {status.dma.count}",
        "pebble": _pool(status.pebble),
        "transition": transition,
        "written to disk": f"{disk.written}" + (f", {disk.dropped} dropped" if disk.dropped else ""),
        "sent by ZMQ": f"{status.zmq.written}",
    }


def _pool(pool: PoolStats) -> str:
    return f"{pool.in_use} / {pool.high_water} / {pool.count}"


def summary(lines: Sequence[Line]) -> Table:
    """Return the comparisons as a table: those that agree in one line for each source, the others in full."""
    table = Table(title="What was sent, counted and stored", title_justify="left")
    table.add_column("")
    table.add_column("found", justify="right")
    table.add_column("expected", justify="right")
    table.add_column("")
    for line in lines:
        if line.expected or line.found:
            table.add_row(line.what, str(line.found), str(line.expected), "ok" if line.agrees else "[bold red]WRONG[/]")
    zeros = sum(not (line.expected or line.found) for line in lines)
    table.add_row(f"{zeros} more: losses, differences, sums in minus out", "0", "0", "ok")
    return table
