"""Totals over all lives of a worker: which values of a snapshot are counters, and what becomes of them at a restart. Pure.

A worker counts from 0 in each life. Its totals are these counts and a base: what the lives before it counted, settled
(``settle``). ``ResetCounters`` sets the base so that the totals are 0 (``reset_base``).
"""

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, TypeVar

from detectors.balance import LINES, OFFERED, OUTPUTS
from detectors.stats import (
    BrowserStats,
    DmaStats,
    FrameStats,
    FunctionStats,
    ImageStats,
    OutputStats,
    PacketStats,
    PoolStats,
    ResultStats,
    RetentionStats,
    ShownStats,
    SyncStats,
    UpdateStats,
    WorkerStatus,
)

GAUGES: Final[Mapping[type, frozenset[str]]] = {
    PoolStats: frozenset({"count", "size_bytes", "total_bytes", "in_use", "high_water"}),
    DmaStats: frozenset({"count", "size_bytes", "total_bytes", "granted_bytes", "in_use", "high_water"}),
    PacketStats: frozenset({"held"}),
    FrameStats: frozenset(),
    OutputStats: frozenset({"queued", "unsynced", "free_bytes", "subscribers"}),
    UpdateStats: frozenset({"held", "l1_pending"}),
    SyncStats: frozenset({"queued", "missing_mask", "missing"}),
    ImageStats: frozenset(),
    ShownStats: frozenset({"clients", "images_hz"}),
    BrowserStats: frozenset({"clients", "images_hz"}),
    RetentionStats: frozenset({"files", "kept_bytes", "free_bytes", "oldest_hours", "oldest_pulse"}),
    FunctionStats: frozenset({"queued", "processes", "lag_ms", "age_ms"}),
    ResultStats: frozenset({"subscribers"}),
}
"""Numbers that are no counters, by the kind of statistics; all others are."""

_OF_WORKERS: Final = frozenset(
    {"captures", "reduced_pixels", "compressed_pixel_bytes", "compressed_elsewhere", "compressed_here"}
)
"""Counters that stand in a snapshot itself."""

_POOLS: Final = ("pebble", "transition", "pool")

Totals = dict[str, float]
S = TypeVar("S", bound=WorkerStatus)


def counters(status: WorkerStatus) -> Totals:
    """Return the counters of a snapshot by dotted names: ``packets.lost``."""
    found: Totals = {}
    _collect(status, "", found)
    return found


def _collect(part: Any, prefix: str, found: Totals) -> None:
    for name, dotted, counts in _fields(part.__class__, prefix):
        value: Any = getattr(part, name)
        kind: type[Any] = value.__class__
        if kind in GAUGES:
            _collect(value, f"{dotted}.", found)
        elif counts and kind in (int, float):
            found[dotted] = value


@cache
def _fields(kind: type, prefix: str) -> tuple[tuple[str, str, bool], ...]:
    """Return the fields of a kind: name, dotted name, and whether a number in it is a counter. Kept: it is asked for at every snapshot."""
    gauges = GAUGES.get(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    return tuple((n, f"{prefix}{n}", n in _OF_WORKERS if gauges is None else n not in gauges) for n in names)


def add_base(status: S, base: Mapping[str, float]) -> S:
    """Return a snapshot with ``base`` added to its counters."""
    return _add(status, base, "") if any(base.values()) else status


def _add(part: Any, base: Mapping[str, float], prefix: str) -> Any:
    changes: dict[str, Any] = {}
    for name, dotted, _ in _fields(part.__class__, prefix):
        value = getattr(part, name)
        if type(value) in GAUGES:
            changes[name] = _add(value, base, f"{dotted}.")
        elif dotted in base:
            changes[name] = value + base[dotted]
    new = dataclasses.replace(part, **changes)
    return _without_earlier(new) if isinstance(new, OutputStats) and new.name == "disk" else new


def _without_earlier(output: OutputStats) -> OutputStats:
    """Return an output without the records not yet durable that were written before the totals were reset."""
    unsynced = min(output.unsynced, output.written - output.lost_on_disk)
    return dataclasses.replace(output, unsynced=unsynced, durable=output.written - output.lost_on_disk - unsynced)


def running_total(blocks: Mapping[str, Mapping[str, float]]) -> Totals:
    """Return the totals that the blocks of a running worker's page make: what is under way is not settled."""
    life = {name: value for block, values in blocks.items() if block != "base" for name, value in values.items()}
    return {name: before + life.get(name, 0) for name, before in blocks["base"].items()}


def total(blocks: Mapping[str, Mapping[str, float]]) -> Totals:
    """Return the totals that the blocks of a counters page make, what its life left undecided settled."""
    base = blocks["base"]
    life = settle(
        {name: value for block, values in blocks.items() if block != "base" for name, value in values.items()}
    )
    totals = {name: before + life.get(name, 0) for name, before in base.items()}
    offered = next((totals[name] for name in OFFERED if name in totals), 0)
    for output in OUTPUTS:
        if f"{output}.offered" in totals:  # one that a life did not have was offered its frames all the same
            totals[f"{output}.disabled"] += offered - totals[f"{output}.offered"]
            totals[f"{output}.offered"] = offered
    return totals


def settle(life: Mapping[str, float]) -> Totals:
    """Return the counts of a life that was ended, with everything that it left undecided counted as what it is now: lost.

    A frame that was open is incomplete and abandoned, its packets stay placed; those held are alien. What was queued in an
    output is dropped; images that waited for a function are lost. Updates and events that waited are abandoned; frames that
    waited for other modules are skipped.
    """
    left = dict(life)
    if "packets.received" in left:
        _settle_frames(left)
    if "updates.updates" in left:
        left["updates.abandoned"] += LINES["updates"].unsettled(left)
        left["updates.l1_abandoned"] += LINES["l1_accepts"].unsettled(left)
    if "sync.received" in left:
        left["sync.skipped"] = left["sync.received"] - left["sync.matched"]
    if "images.matched" in left:
        left["images.overwritten"] = left["images.matched"] - left["images.assembled"]
    offered = next((left[name] for name in OFFERED if name in left), 0)
    for output in OUTPUTS:
        if f"{output}.offered" in left:
            _settle_output(left, output, offered)
    if "processing.offered" in left:
        left["processing.offered"] = offered
        left["processing.lost"] += LINES["processing"].unsettled(left)
    for pool in _POOLS:
        if f"{pool}.acquires" in left:
            left[f"{pool}.returns"] = left[f"{pool}.acquires"]
    return left


def _settle_frames(left: Totals) -> None:
    frame_packets, opened, packets, whole, empty = (
        left.get(f"open.{name}", 0) for name in ("frame_packets", "frames", "packets", "whole", "empty")
    )
    left["packets.alien"] += LINES["packets.received"].unsettled(left)
    left["packets.expected"] += frame_packets * (opened + empty)
    left["packets.lost"] += frame_packets * (opened + empty) - packets
    left["frames.complete"] += whole
    left["frames.incomplete"] += opened - whole
    left["frames.abandoned"] += opened
    left["frames.empty"] += empty


def _settle_output(left: Totals, output: str, offered: float) -> None:
    """Count frames that an output had not settled: dropped if it took any, else disabled."""
    takes = left.get(f"{output}.enabled") and (output in ("disk", "output") or left.get(f"{output}.subscribers"))
    left[f"{output}.offered"] = offered
    left[f"{output}.{'dropped' if takes else 'disabled'}"] += LINES[output].unsettled(left)
    if output == "disk":  # the kernel has what was written, and goes on to write it out
        left["disk.durable"] = left["disk.written"] - left["disk.lost_on_disk"]


def reset_base(status: WorkerStatus) -> Totals:
    """Return the base that makes the totals 0, for a snapshot without any base.

    What is under way stays counted, or it would come out of nothing: held packets, updates and events that wait, slots in use,
    and the last frames, as many as the fullest output has queued.
    """
    counts, under_way = counters(status), _under_way(status)
    return {name: under_way.get(name, 0) - value for name, value in counts.items()}


def _under_way(status: Any) -> Totals:
    kept: Totals = {}
    outputs = {name: one for name in OUTPUTS if (one := getattr(status, name, None)) is not None and one.name}
    queued = max((one.queued for one in outputs.values()), default=0)
    if processing := getattr(status, "processing", None):
        queued = processing.queued
        kept["processing.offered"] = queued
    for name, one in outputs.items():
        kept |= {f"{name}.offered": queued, f"{name}.written": queued - one.queued}
        if name == "disk":
            kept["disk.durable"] = queued - one.queued
    if packets := getattr(status, "packets", None):
        kept |= {"frames.complete": queued, "frames.delivered": queued, "packets.received": packets.held}
    if updates := getattr(status, "updates", None):
        kept |= {"updates.updates": updates.held, "updates.placed": queued}
        kept |= {"updates.l1_accepts": updates.l1_pending + queued}
    if sync := getattr(status, "sync", None):
        kept |= {"sync.received": sync.queued, "images.matched": queued, "images.assembled": queued}
    for name in _POOLS:
        if pool := getattr(status, name, None):
            kept[f"{name}.acquires"] = pool.in_use
    return kept
