"""What the page shows, as one tree for ``/api/status``. Pure, but for the time in it."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from detectors.balance import LINES
from detectors.config import Config, SourceSection
from detectors.worker_names import worker_name
from detectors.workers.losses import LOSSES
from detectors.workers.web.health import Condition, output_level, outputs_of, worst
from detectors.workers.web.watch import Watch, Watched

Tree = dict[str, Any]

_POOLS: Final = {"dma": "DMA ring", "pebble": "Pebble", "transition": "Transition", "pool": "Images"}

_LINES: Final = {
    "packets.expected": "Packets expected",
    "packets.received": "Packets received",
    "frames": "Frames",
    "updates": "Updates",
    "l1_accepts": "Events",
    "disk": "To disk",
    "zmq": "To live streams",
}
"""Titles of the lines of the balance, in the order of the page."""

_GOOD_FATES: Final = frozenset({"placed", "delivered", "match", "written"})
_OFF_FATES: Final = frozenset({"disabled", "discarded_disabled", "l1_refused"})
_IDLE_FATES: Final = frozenset(
    {"bad_pulse", "duplicate", "alien", "too_old", "empty_updates", "empty", "held", "l1_pending", "queued"}
)


def status_tree(config: Config, watch: Watch, now_s: float) -> Tree:
    """Return what ``/api/status`` says. ``now_s``: monotonic, as the watch has it."""
    sources = (*config.udp, *config.pva)
    return {
        "detector": config.detector.name,
        "prefix": config.detector.prefix,
        "time_ms": time.time_ns() // 1_000_000,
        "verdict": _verdict(watch),
        "sources": [_source(source, watch.workers[worker_name(source)]) for source in sources],
        "detectors": list(config.detectors),
        "modules": _places(config),
        "placed": _laid_out(config),
        "outputs": list(_outputs(watch)),
        "balance": list(_balance(watch)),
        "history": list(watch.history),
        "window_s": watch.window_s,
        "events": [{"time_ms": e.time_ms, "source": e.source, "level": e.level, "text": e.text} for e in watch.events],
        "workers": {
            name: {
                "level": worker.level,
                "responding": worker.responding,
                "age_s": round(now_s - worker.heard_s, 1) if worker.snapshot else None,
                "snapshot": worker.snapshot,
            }
            for name, worker in watch.workers.items()
        },
    }


def _verdict(watch: Watch) -> Tree:
    """Return how everything is, in a word and in a sentence."""
    level = worst(worker.level for worker in watch.workers.values())
    those = [name for name, worker in watch.workers.items() if worker.level == level]
    names = ", ".join(those[:3]) + (f" and {len(those) - 3} more" if len(those) > 3 else "")
    match level:
        case Condition.BROKEN:
            why = _why(watch.workers[those[0]])
            text = f"{names}: {why}" if len(those) == 1 else names
        case Condition.LOSING:
            lost = sum(watch.workers[name].lost_recently for name in those)
            text = f"{names}: {lost:,.0f} lost in the last {watch.window_s:.0f} s" if lost else names
        case Condition.GOOD:
            text = f"nothing lost in the last {watch.window_s:.0f} s"
        case Condition.OFF:
            text = f"{names} {'does' if len(those) == 1 else 'do'} not run"
        case Condition.IDLE:
            text = "no data comes"
    return {"level": level, "text": text}


def _why(worker: Watched) -> str:
    assert worker.snapshot
    if not worker.responding:
        return "does not respond"
    for name, output in outputs_of(worker.snapshot):
        if output_level(output) == Condition.BROKEN:
            return f"{name} {output['state']}: {output['message']}".rstrip(": ")
    return worker.snapshot["message"] or worker.snapshot["state"]


def _source(source: SourceSection, worker: Watched) -> Tree:
    snapshot: Tree = worker.snapshot or {}
    rates: Tree = snapshot.get("rates", {}) if worker.responding else {}
    return {
        "name": source.name,
        "worker": worker_name(source),
        "level": worker.level,
        "state": snapshot.get("state", "Off") if worker.responding else "Off",
        "run_state": snapshot.get("run_state", ""),
        "message": snapshot.get("message", ""),
        # A browser's numbers have 53 bits.
        "pulse_id": str(snapshot.get("pulse_id", 0)),
        "frames_hz": rates.get("frames_hz", 0.0),
        "bytes_per_s": rates.get("bytes_per_s", 0.0),
        "lost_recently": worker.lost_recently,
        "losses": [f"{lost:,} {words}" for name, words in LOSSES.items() if (lost := _count(snapshot, name))],
        "pools": list(_pools(snapshot)),
    }


def _count(snapshot: Mapping[str, Any], counter: str) -> int:
    """Return a counter by its dotted name; 0 when the worker does not have it."""
    part, _, name = counter.partition(".")
    return snapshot.get(part, {}).get(name, 0)


def _pools(snapshot: Mapping[str, Any]) -> Iterator[Tree]:
    for key, title in _POOLS.items():
        pool = snapshot.get(key)
        if pool and pool["count"]:
            yield {
                "key": key,
                "name": title,
                "count": pool["count"],
                "in_use": pool["in_use"],
                "high_water": pool["high_water"],
                "bytes": pool["total_bytes"],
                "failures": pool["overruns"] + pool.get("exhausted", 0),
            }


def _places(config: Config) -> list[Tree]:
    """Return where each module lies in the image; empty when a camera's shape is not known."""
    if not config.udp:
        return []
    modules: list[Tree] = []
    laid_out = _laid_out(config)
    for number, module in enumerate(config.udp):
        rows, cols = (1, *module.geometry.layout.shape)[-2:]
        row, col = number * rows, 0
        if module.placed and laid_out:
            down, across = module.placed.box(module.geometry.layout.shape)
            row, col, rows, cols = down.start, across.start, down.stop - down.start, across.stop - across.start
        modules.append({"name": module.name, "row": row, "col": col, "rows": rows, "cols": cols})
    return modules


def _laid_out(config: Config) -> bool:
    return config.stream is not None and config.stream.layout == "geometry"


def _outputs(watch: Watch) -> Iterator[Tree]:
    """Yield each kind of output, summed over the workers that have it."""
    found: dict[str, list[tuple[Watched, Mapping[str, Any]]]] = {}
    for worker in watch.workers.values():
        for name, output in outputs_of(worker.snapshot or {}):
            found.setdefault(name, []).append((worker, output))
    titles = {"disk": "Disk", "zmq": "Module streams", "output": "HDF5"}
    for name, those in found.items():
        outputs = [output for _, output in those]
        level = worst(output_level(output) if worker.responding else Condition.OFF for worker, output in those)
        worst_one = max(outputs, key=lambda output: bool(output["message"]))
        yield {
            "name": name,
            "title": titles.get(name, f"{name.title()} stream"),
            "level": level,
            "state": next((o["state"] for w, o in those if w.responding and output_level(o) == level), "Off"),
            "message": worst_one["message"],
            "folder": outputs[0]["folder"],
            "free_bytes": min(output["free_bytes"] for output in outputs),
            **{
                key: sum(output[key] for output in outputs)
                for key in ("offered", "written", "dropped", "disabled", "queued", "bytes", "subscribers")
            },
        }


def _balance(watch: Watch) -> Iterator[Tree]:
    """Yield the lines of the balance, summed over the sources."""
    for name, title in _LINES.items():
        line = LINES[name]
        parts = [(watch.workers[source].snapshot or {}).get(line.part) for source in watch.sources]
        found = [part for part in parts if part and line.came[0] in part and part.get("name", line.part)]
        if not found:
            continue
        counts = {fate: sum(part[fate] for part in found) for fate in line.all_fates}
        total = sum(part[came] for part in found for came in line.came)
        yield {
            "title": title,
            "total": total,
            "parts": [{"name": n, "count": c, "level": _fate_level(n)} for n, c in counts.items()],
            "open": total - sum(counts.values()),
        }


def _fate_level(fate: str) -> Condition:
    """Return what a fate stands for; most are losses."""
    if fate in _GOOD_FATES:
        return Condition.GOOD
    if fate in _OFF_FATES:
        return Condition.OFF
    return Condition.IDLE if fate in _IDLE_FATES else Condition.LOSING
