"""Tables of a server: its pools, modules, balance and events, as columns of equal length. Pure.

Each is made of what the records show at one moment, so that its rows belong together.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from detectors.balance import LINES
from ioc.events import SEVERITIES, LoggedEvent

Table = dict[str, list[Any]]
"""Columns by name."""

COLUMNS: Final[Mapping[str, Mapping[str, str]]] = {
    "Pools": {
        "worker": "s",
        "pool": "s",
        "count": "l",
        "in_use": "l",
        "high_water": "l",
        "exhausted": "l",
        "slot_bytes": "l",
        "total_bytes": "l",
    },
    "Modules": {
        "worker": "s",
        "state": "s",
        "run_state": "s",
        "pulse_id": "l",
        "frames_hz": "d",
        "bytes_per_s": "d",
        "frames": "l",
        "incomplete": "l",
        "lost": "l",
        "lost_recently": "l",
    },
    "Balance": {"worker": "s", "line": "s", "came": "l", "settled": "l", "open": "l", "fates": "s"},
    "Events": {"seconds": "l", "nanoseconds": "i", "source": "s", "severity": "s", "text": "s"},
}
"""Columns of each table with their types, by p4p's letters: s text, l 64-bit, i 32-bit, d double."""

_POOLS: Final = ("dma", "pebble", "transition", "pool")


def tables(workers: Mapping[str, Mapping[str, Any]], events: Iterable[LoggedEvent]) -> dict[str, Table]:
    """Return all tables, from the values that each worker shows by dotted name."""
    rows = {
        "Pools": [row for name, values in workers.items() for row in _pools(name, values)],
        "Modules": [_module(name, values) for name, values in workers.items() if name.startswith(("udp.", "pva."))],
        "Balance": [row for name, values in workers.items() for row in balance_rows(name, values)],
        "Events": [_event(event) for event in events],
    }
    return {
        name: {column: [row[number] for row in rows[name]] for number, column in enumerate(columns)}
        for name, columns in COLUMNS.items()
    }


def _pools(worker: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (
            worker,
            pool,
            *(values[f"{pool}.{field}"] for field in ("count", "in_use", "high_water")),
            values.get(f"{pool}.exhausted", 0),
            *(values[f"{pool}.{field}"] for field in ("size_bytes", "total_bytes")),
        )
        for pool in _POOLS
        if values.get(f"{pool}.count")
    ]


def _module(worker: str, values: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the row of a source: of a camera, frames are matched updates, and those that were lost never seen."""
    of_packets = "packets.lost" in values
    frames = values["frames.delivered"] if of_packets else values["updates.match"]
    lost = "packets.lost" if of_packets else "updates.missed"
    return (
        *(worker, values["state"], values["run_state"], values["pulse_id"]),
        *(values["rates.frames_hz"], values["rates.bytes_per_s"], frames, values.get("frames.incomplete", 0)),
        *(values[lost], values.get(f"recent.{lost}", 0)),
    )


def balance_rows(worker: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return the lines of a worker's balance: what came, what has a fate, what has none yet, and the fates in words."""
    found: list[tuple[Any, ...]] = []
    for line in LINES.values():
        if line.applies(values):
            fates = {name: values[f"{line.part}.{name}"] for name in line.all_fates}
            words = ", ".join(f"{count} {name}" for name, count in fates.items() if count)
            came, rest = line.total(values), line.rest(values)
            found.append((worker, line.name, came, came - rest, rest, words))
    return found


def _event(event: LoggedEvent) -> tuple[Any, ...]:
    return (*divmod(event.time_ns, 1_000_000_000), event.source, SEVERITIES[event.severity], event.text)
