"""How a worker is, from its snapshot: its level, and that of several together. Pure."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

from detectors.balance import OUTPUTS


class Condition(StrEnum):
    """What a colour on the page stands for, from the best to the worst."""

    GOOD = "good"
    IDLE = "idle"
    OFF = "off"
    LOSING = "losing"
    BROKEN = "broken"


WORST_LAST: Final = (Condition.IDLE, Condition.GOOD, Condition.OFF, Condition.LOSING, Condition.BROKEN)
"""The level of several is that which comes last here: one that is good makes the others' rest no matter."""

_WORKING: Final = frozenset({"Receiving", "Assembling", "Capturing", "Showing"})
_AT_FAULT: Final = frozenset({"Failed", "Failing", "Stalled", "OutOfStep"})
_OUTPUT_LEVELS: Final = {
    "Failed": Condition.BROKEN,
    "Failing": Condition.BROKEN,
    "Full": Condition.BROKEN,
    "Behind": Condition.LOSING,
    "Writing": Condition.GOOD,
    "Publishing": Condition.GOOD,
    "Off": Condition.OFF,
}


def output_level(output: Mapping[str, Any]) -> Condition:
    """Return the level of an output."""
    return _OUTPUT_LEVELS.get(output["state"], Condition.IDLE)


def outputs_of(snapshot: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the outputs that a worker has, with their names as fields."""
    for name in OUTPUTS:
        output = snapshot.get(name)
        if output and output.get("name"):
            yield name, output


def worker_level(snapshot: Mapping[str, Any] | None, *, responding: bool, losing: bool) -> Condition:
    """Return the level of a worker; ``snapshot`` is its last, None without one."""
    if snapshot is None or (not responding and snapshot["state"] == "Stopped"):
        return Condition.OFF
    outputs = {output_level(output) for _, output in outputs_of(snapshot)}
    if not responding or snapshot["state"] in _AT_FAULT or Condition.BROKEN in outputs:
        return Condition.BROKEN
    if losing or snapshot["state"] == "Incomplete" or Condition.LOSING in outputs:
        return Condition.LOSING
    return Condition.GOOD if snapshot["state"] in _WORKING else Condition.IDLE


def worst(levels: Iterator[Condition]) -> Condition:
    """Return the level of several together."""
    return max(levels, key=WORST_LAST.index, default=Condition.OFF)
