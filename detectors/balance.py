"""The balance of a worker: everything that came has one fate, or is under way. One table for all that compute or show it. Pure.

Values are those of a snapshot by dotted names (``detectors.stats.flat``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from detectors.stats import WorkerStatus, flat

NamedValues = Mapping[str, Any]

OUTPUTS: Final = ("disk", "zmq", "full", "reduced", "pulse", "compressed", "output")
"""Parts of snapshots that are outputs."""

POOLS: Final = ("pebble", "pool")
"""Pools whose slots a balance follows."""

OFFERED: Final = "frames.delivered", "updates.placed", "images.assembled"
"""What is offered to every output, by the kind of worker."""


@dataclass(frozen=True, slots=True)
class BalanceLine:
    """One line: the sum of ``came`` is that of ``fates`` and ``under_way``, all counters of one part of a snapshot."""

    name: str
    part: str
    came: tuple[str, ...]
    fates: tuple[str, ...]
    under_way: tuple[str, ...] = ()
    """What has no fate yet."""

    @property
    def all_fates(self) -> tuple[str, ...]:
        """The fates, and what has none yet."""
        return self.fates + self.under_way

    def applies(self, values: NamedValues) -> bool:
        """Return whether a worker has this line, and the output that it is of."""
        return f"{self.part}.{self.came[0]}" in values and values.get(f"{self.part}.name") != ""

    def total(self, values: NamedValues) -> Any:
        """Return how much came."""
        return self._sum(values, self.came)

    def unsettled(self, values: NamedValues) -> Any:
        """Return how much of it has no fate."""
        return self.total(values) - self._sum(values, self.fates)

    def rest(self, values: NamedValues) -> Any:
        """Return how much of it is neither settled nor under way: 0, or something is counted wrong."""
        return self.unsettled(values) - self._sum(values, self.under_way)

    def _sum(self, values: NamedValues, names: tuple[str, ...]) -> Any:
        return sum(values[f"{self.part}.{name}"] for name in names)


_PACKET_FATES: Final = ("placed", "bad_pulse", "duplicate", "late", "alien", "malformed", "disabled")
_UPDATE_FATES: Final = (
    *("match", "too_old", "expired", "discarded_disabled", "exhausted"),
    *("decode_errors", "empty_updates", "abandoned"),
)
_EVENT_FATES: Final = ("placed", "empty", "timed_out", "l1_exhausted", "l1_refused", "l1_abandoned")

LINES: Final[Mapping[str, BalanceLine]] = {
    line.name: line
    for line in (
        BalanceLine("packets.received", "packets", ("received",), _PACKET_FATES, ("held",)),
        BalanceLine("packets.expected", "packets", ("expected",), ("placed", "bad_pulse", "lost")),
        BalanceLine("frames", "frames", ("complete", "incomplete"), ("delivered", "exhausted", "abandoned")),
        BalanceLine("updates", "updates", ("updates",), _UPDATE_FATES, ("held",)),
        BalanceLine("l1_accepts", "updates", ("l1_accepts",), _EVENT_FATES, ("l1_pending",)),
        BalanceLine("sync", "sync", ("received",), ("matched", "skipped"), ("queued",)),
        BalanceLine("images", "images", ("matched",), ("assembled", "overwritten")),
        BalanceLine("processing", "processing", ("offered",), ("processed", "dropped", "failed", "lost"), ("queued",)),
        *(
            BalanceLine(output, output, ("offered",), ("written", "dropped", "disabled"), ("queued",))
            for output in OUTPUTS
        ),
    )
}
"""All lines by name, in the order in which they are shown."""


def balance(status: WorkerStatus) -> dict[str, int]:
    """Return each line of the balance as in minus out; every value is 0 at rest."""
    values = flat(status)
    found = {name: line.rest(values) for name, line in LINES.items() if line.applies(values)}
    offered = next((values[name] for name in OFFERED if name in values), 0)
    for output in OUTPUTS:
        if output in found:
            found[f"{output}.offered"] = offered - values[f"{output}.offered"]
    if "processing" in found:
        found["processing.offered"] = offered - values["processing.offered"]
    if "disk" in found:
        durable, lost, unsynced = (values[f"disk.{name}"] for name in ("durable", "lost_on_disk", "unsynced"))
        found["disk.durable"] = values["disk.written"] - durable - lost - unsynced
    for pool in POOLS:
        if f"{pool}.acquires" in values:
            found[pool] = values[f"{pool}.acquires"] - values[f"{pool}.returns"] - values[f"{pool}.in_use"]
    return found
