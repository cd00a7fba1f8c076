"""What is known of every worker: its process, its newest snapshot, and whether it responds.

The supervisor writes the processes, the observer the snapshots, the display who responds; all others only read.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from detectors.config import SourceSection
from ioc.status import ProcessStatus


@dataclass(frozen=True, slots=True)
class Heard:
    """The newest snapshot of a worker, the same object while nothing in it changes."""

    time_s: float
    """When a snapshot, or an answer, last came, on the monotonic clock."""
    snapshot: Mapping[str, Any]
    made_ns: int = 0
    """When the worker made it at the earliest, by our wall clock."""


class Roster:
    """The workers of a server; those of images have no source."""

    def __init__(self, workers: Mapping[str, SourceSection | None]) -> None:
        self.sources = {worker: source for worker, source in workers.items() if source is not None}
        self.processes = dict.fromkeys(workers, ProcessStatus())
        self.heard: dict[str, Heard] = {}
        self.responding: frozenset[str] = frozenset()
        self.commands: Counter[str] = Counter()
        """Commands in progress; a worker that is at work on one may send no snapshots."""
        self.clock_ahead_ns: dict[str, int] = {}
        """How far the clock of a worker's host may be ahead of ours; not in it while that is not known, or on our own host."""

    def __iter__(self) -> Iterator[str]:
        return iter(self.processes)

    def snapshot(self, snapshot: dict[str, Any], now_s: float) -> None:
        """Take a snapshot. Raises KeyError when it is not from one of the workers."""
        worker, made_ns = snapshot["worker"], snapshot.pop("time_ns", 0)
        if worker not in self.processes:
            raise KeyError(worker)
        last = self.heard.get(worker)
        unchanged = last is not None and last.snapshot == snapshot
        made_ns -= self.clock_ahead_ns.get(worker, 0)
        self.heard[worker] = Heard(now_s, last.snapshot if last and unchanged else snapshot, made_ns)

    def answered(self, worker: str, now_s: float) -> None:
        """Count an answer of a worker as a sign of life."""
        if worker in self.heard:
            heard = self.heard[worker]
            self.heard[worker] = Heard(now_s, heard.snapshot, heard.made_ns)

    def payload_bytes(self, worker: str) -> int | None:
        """Return the payload that a worker's PV sends; None when not known."""
        heard = self.heard.get(worker)
        return (heard.snapshot.get("payload_bytes") or None) if heard else None
