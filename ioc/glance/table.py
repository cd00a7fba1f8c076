"""The table of a running system, for a terminal of 80 columns: a row a worker, whatever its kind."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from detectors.balance import OUTPUTS
from ioc.glance.verdict import Verdict, Word, WorkerView, hosts_of

WIDTH: Final = 80

_MOST_IN_DETAIL: Final = 6
"""Up to so many workers, each of their pools has a row of its own; of more the pebble is shown."""
_MOST_REASONS: Final = 6

_POOLS: Final = {"pebble": "pebble", "pool": "images", "transition": "transition", "dma": "DMA ring"}
_COLUMNS: Final = {"state": 9, "rate": 6, "MB/s": 6, "lost": 7, "pool": 11, "disk": 7, "stream": 10}
"""The columns after the worker's name, each with its least width, so that they stand still."""
_NUMBERS: Final = "rate", "MB/s", "lost", "pool"
_FILES: Final = "disk", "output"
_VIEWERS: Final = "image", "preview", "ca", "browsers"
_DULL: Final = "Off", "ended", "Idle", "Starting"


def render(title: str, workers: Sequence[WorkerView], verdict: Verdict, span_s: float) -> RenderableType:
    """Return one screen: the word, why, and a row a worker. ``span_s``: how long losses are recent, s."""
    head = Text.assemble(f"{title}  ", (f" {verdict.word.name.lower()} ", f"bold {verdict.word.colour} reverse"))
    reasons = list(verdict.reasons[:_MOST_REASONS])
    if more := len(verdict.reasons) - len(reasons):
        reasons.append(f"and {more} more")
    why = [Padding(reason, (0, 0, 0, 2)) for reason in map(Text, reasons)]
    hosts = [f"{host.name}: {host.responding} of {host.workers} workers respond" for host in hosts_of(workers)]
    return Group(head, *why, *(Text(line, style="dim") for line in hosts), _table(workers, span_s))


def _table(workers: Sequence[WorkerView], span_s: float) -> Table:
    caption = f"lost: in the last {span_s:.0f} s / in all; pool: slots in use now / most ever / in all"
    table = Table(box=None, padding=(0, 1, 0, 0), caption=caption, caption_justify="left", width=WIDTH)
    table.add_column("worker", no_wrap=True, ratio=1)
    for name, width in _COLUMNS.items():
        table.add_column(name, min_width=width, no_wrap=True, justify="right" if name in _NUMBERS else "left")
    for view in workers:
        cells = facts(view)
        pools = [(name, cells[name]) for name in _POOLS.values() if name in cells]
        row = [cells.get(name, "") for name in ("state", "rate", "MB/s", "lost")]
        disk, stream = cells.get("disk", ""), cells.get("stream", "")
        table.add_row(_short(view.name), *row, pools[0][1] if pools else "", disk, stream, style=_style(view))
        if len(workers) <= _MOST_IN_DETAIL:
            for name, pool in pools[1:]:
                table.add_row(f"  {name}", "", "", "", "", pool, "", "", style="dim")
    return table


def facts(view: WorkerView) -> dict[str, str]:
    """Return what is shown of a worker, by the name of it; what it does not have is left out."""
    values = view.values
    found = {"state": view.state}
    if "rates.frames_hz" in values and view.running:
        found |= {"rate": f"{values['rates.frames_hz']:.0f}/s", "MB/s": f"{values['rates.bytes_per_s'] / 1e6:.1f}"}
    elif view.running and (rates := _of_viewers(values, "images_hz")):
        found["rate"] = f"{max(rates):.0f}/s"
    found["lost"] = f"{view.lost_recently}/{view.lost}"
    for pool, name in _POOLS.items():
        if values.get(f"{pool}.count") and view.running:
            found[name] = "/".join(str(values[f"{pool}.{figure}"]) for figure in ("in_use", "high_water", "count"))
    if view.running:
        found |= _outputs(values)
    return found


def _outputs(values: Mapping[str, Any]) -> dict[str, str]:
    states = {output: str(state) for output in OUTPUTS if (state := values.get(f"{output}.state"))}
    streams = [state for output, state in states.items() if output not in _FILES]
    files = [state for output, state in states.items() if output in _FILES]
    found: dict[str, str] = {}
    if files:
        found["disk"] = files[0]
    if streams:
        found["stream"] = _most_telling(streams)
    elif clients := _of_viewers(values, "clients"):
        found["stream"] = f"{sum(clients):.0f} clients"
    return found


def _of_viewers(values: Mapping[str, Any], figure: str) -> list[float]:
    """Return a figure of each kind of viewer that a worker serves."""
    return [values[name] for viewer in _VIEWERS if (name := f"{viewer}.{figure}") in values]


def _most_telling(states: Iterable[str]) -> str:
    """Return the state of several streams that a person wants to see: trouble first, then work."""
    order = "Failed", "Failing", "Full", "Behind", "Publishing", "Idle", "Off"
    return min(states, key=lambda state: order.index(state) if state in order else 0)


def _style(view: WorkerView) -> str:
    if not view.running:
        return Word.BROKEN.colour if view.wanted else "dim"
    if not view.responding or view.state == "Failed":
        return Word.BROKEN.colour
    return Word.LOSING.colour if view.lost_recently else "dim" if view.state in _DULL else ""


def _short(worker: str) -> str:
    """Return the name of a source without its kind: names of sources differ."""
    kind, _, name = worker.partition(".")
    return name if kind in ("udp", "pva") else worker
