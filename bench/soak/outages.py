"""When a worker was down, and which pulses may be missing for it. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

IN_FLIGHT_S: Final = 0.5
"""Frames of so long before the end of a process may have been in its memory only, s."""


@dataclass(frozen=True, slots=True)
class Outage:
    """One worker from its end until it was seen to take data again; POSIX times, ns."""

    worker: str
    ended_ns: int
    back_ns: int

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return (self.back_ns - self.ended_ns) / 1e9

    def covers(self, time_ns: int) -> bool:
        """Whether what was sent at that time may be missing."""
        return self.ended_ns - IN_FLIGHT_S * 1e9 <= time_ns <= self.back_ns


def unexplained(lost_ns: Iterable[int], outages: Iterable[Outage]) -> list[int]:
    """Return the times at which something was lost in no outage."""
    listed = list(outages)
    return [time_ns for time_ns in lost_ns if not any(outage.covers(time_ns) for outage in listed)]
