"""What became of all workers lately: snapshots in, losses, events and a minute of rates out. Times are passed in."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from detectors.stats import flat
from detectors.workers.commands import SILENCE_S
from detectors.workers.losses import LIVE_LOSSES, LOSSES, losses_of
from detectors.workers.web.health import Condition, worker_level

HISTORY: Final = 60
"""Seconds of rates that are kept."""

MOST_EVENTS: Final = 100


@dataclass(slots=True)
class Occurrence:
    """Something that a person wants to know of. Losses that go on are one event, whose text grows."""

    time_ms: float
    source: str
    level: Condition
    text: str
    key: str = ""
    """Counter that it is about, if any."""
    count: float = 0
    last_s: float = 0.0


@dataclass(slots=True)
class Watched:
    """One worker."""

    snapshot: dict[str, Any] | None = None
    heard_s: float = float("-inf")
    responding: bool = False
    counts: dict[str, float] = field(default_factory=dict)
    gains: deque[tuple[float, float]] = field(default_factory=deque)
    """When something was lost, and how much."""

    @property
    def lost_recently(self) -> float:
        """All that was lost within the window."""
        return sum(lost for _, lost in self.gains)

    @property
    def level(self) -> Condition:
        """How it is."""
        return worker_level(self.snapshot, responding=self.responding, losing=bool(self.gains))


class Watch:
    """All workers; ``sources`` are those that are always there. For one thread."""

    def __init__(self, sources: Iterable[str], window_s: float) -> None:
        """Let what was lost within ``window_s`` count as lost recently."""
        self.window_s = window_s
        self.sources = tuple(sources)
        self.workers = {worker: Watched() for worker in self.sources}
        self.events: deque[Occurrence] = deque(maxlen=MOST_EVENTS)
        """The newest first."""
        self.history: deque[tuple[float, float, float, float, float]] = deque(maxlen=HISTORY)
        """Each second: POSIX time in ms, frames/s of the slowest and the fastest source, bytes/s of all, and what was lost."""
        self._lost = 0.0

    def take(self, snapshot: dict[str, Any], now_s: float) -> None:
        """Take a snapshot. Raises KeyError or TypeError when it is not one."""
        name, state = snapshot["worker"], snapshot["state"]
        worker = self.workers.setdefault(name, Watched())
        before = worker.snapshot["state"] if worker.snapshot else ""
        worker.heard_s = now_s
        if not worker.responding and state != "Stopped":
            worker.responding = True
            if worker.snapshot is not None:
                self._tell(name, Condition.GOOD, "responds again")
        self._count(name, worker, flat(snapshot), now_s)
        worker.snapshot = snapshot
        if before and before != state:
            level = worker_level(snapshot, responding=True, losing=False)
            words = f"{before} → {state}"
            self._tell(name, level, f"{words}: {snapshot['message']}" if snapshot["message"] else words)

    def tick(self, now_s: float) -> None:
        """Note once a second who is silent, and the rates."""
        for name, worker in self.workers.items():
            while worker.gains and now_s - worker.gains[0][0] > self.window_s:
                worker.gains.popleft()
            if worker.responding and now_s - worker.heard_s > SILENCE_S:
                worker.responding = False
                if worker.snapshot and worker.snapshot["state"] == "Stopped":
                    self._tell(name, Condition.OFF, "ended")
                else:
                    self._tell(name, Condition.BROKEN, "does not respond")
        rates = list(self._rates())
        hz = [rate["frames_hz"] for rate in rates] or [0.0]
        nbytes = sum(rate["bytes_per_s"] for rate in rates)
        self.history.append((time.time_ns() // 1_000_000, min(hz), max(hz), nbytes, self._lost))
        self._lost = 0.0

    def _rates(self) -> Iterator[Mapping[str, float]]:
        for name in self.sources:
            worker = self.workers[name]
            if worker.snapshot and worker.responding:
                yield worker.snapshot["rates"]

    def _count(self, name: str, worker: Watched, values: Mapping[str, Any], now_s: float) -> None:
        """Find out what was lost since the snapshot before. Totals that fell were reset: they are a new beginning."""
        first = not worker.counts
        lost = {counter: LOSSES[counter] for counter in losses_of(values)}
        live = {counter: words for counter, words in LIVE_LOSSES.items() if counter in values}
        for counter, words in (lost | live).items():
            gain = values[counter] - worker.counts.get(counter, 0)
            worker.counts[counter] = values[counter]
            if first or gain <= 0:
                continue
            if counter in LOSSES:
                worker.gains.append((now_s, gain))
                self._lost += gain
            self._tell_loss(name, counter, words, gain, now_s)

    def _tell_loss(self, name: str, counter: str, words: str, gain: float, now_s: float) -> None:
        event = next((e for e in self.events if (e.source, e.key) == (name, counter)), None)
        if event is None or now_s - event.last_s > self.window_s:
            event = self._tell(name, Condition.LOSING if counter in LOSSES else Condition.IDLE, "", counter)
        event.count += gain
        event.last_s = now_s
        event.text = f"{event.count:,.0f} {words}"

    def _tell(self, name: str, level: Condition, text: str, key: str = "") -> Occurrence:
        event = Occurrence(time.time_ns() // 1_000_000, name, level, text, key)
        self.events.appendleft(event)
        return event
