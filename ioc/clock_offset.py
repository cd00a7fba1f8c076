"""How far the clock of another host is from ours, from exchanges of one question and one answer. Pure."""

from collections.abc import Iterable
from typing import NamedTuple


class Exchange(NamedTuple):
    """One question to another host, and its answer."""

    asked_ns: int
    """When it was asked, by our clock."""
    answered_ns: int
    """The time in the answer, by the other host's clock."""
    round_trip_ns: int
    """From the question to the answer, by our monotonic clock."""


class ClockOffset(NamedTuple):
    """What one exchange says."""

    offset_ns: int
    """The other clock minus ours, if the question took as long as the answer."""
    round_trip_ns: int

    @property
    def uncertainty_ns(self) -> int:
        """How wrong the offset is at most, when only one of both ways took time: half the round trip."""
        return -(-self.round_trip_ns // 2)


def clock_offset(exchanges: Iterable[Exchange]) -> ClockOffset:
    """Return what the exchange with the shortest round trip says: the other ones waited somewhere, and say less."""
    best = min(exchanges, key=lambda exchange: exchange.round_trip_ns)
    return ClockOffset(best.answered_ns - best.asked_ns - best.round_trip_ns // 2, best.round_trip_ns)
