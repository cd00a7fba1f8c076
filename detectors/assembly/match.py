"""Which PV update belongs to which timing event. Pure: the clock is passed in.

Events and updates each arrive in their own order. The first event in its queue is compared with the first update in its
own, and the outcomes are those of LCLS-II's PvDetector:

* L1 == PV: they match;
* L1 < PV: no older update can come any more, so the event has none (MissingData); the next event is tried;
* L1 > PV: no older event can come any more, so the update is too old; the next update is tried;
* no update within the time-out: the event is timed out (TimedOut).

An update for which no event came within the time-out has expired: else one time stamp from the future, as a clock step
makes it, would keep all later updates waiting behind it. Transitions keep their place among the events.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from typing import Final, Generic, TypeVar

from detectors.frame import Damage
from detectors.run_state import Service
from detectors.wire.timing import TimingEvent

T = TypeVar("T")

_SECOND_NS: Final = 1_000_000_000
FUZZY_NS: Final = 10_000_000
"""Largest difference that ``fuzzy`` takes for equal."""
_FIDUCIAL_MASK: Final = (1 << 17) - 1
"""The low 17 bits of the nanoseconds hold the fiducial of an LCLS-I event system, not time."""


def compare_exact(l1_ns: int, pv_ns: int) -> int:
    """Return -1, 0 or 1 as the event is before, at or after the update."""
    return (l1_ns > pv_ns) - (l1_ns < pv_ns)


def compare_fuzzy(l1_ns: int, pv_ns: int) -> int:
    """Compare like ``compare_exact``, but take anything within 10 ms for equal, the fiducials masked out.

    LCLS-II compares seconds and nanoseconds packed into one number, so that no two stamps in different seconds are ever
    near each other. Here time is continuous.
    """
    difference = _without_fiducial(l1_ns) - _without_fiducial(pv_ns)
    return 0 if abs(difference) <= FUZZY_NS else (1 if difference > 0 else -1)


def compare_none(l1_ns: int, pv_ns: int) -> int:  # noqa: ARG001
    """Take any two for equal: every event takes the next update."""
    return 0


COMPARISONS: Final[Mapping[str, Callable[[int, int], int]]] = {
    "exact": compare_exact,
    "fuzzy": compare_fuzzy,
    "none": compare_none,
}
"""How an event's and an update's time, both POSIX ns, are compared: by the configuration's ``match``."""


def _without_fiducial(time_ns: int) -> int:
    return time_ns - (time_ns % _SECOND_NS & _FIDUCIAL_MASK)


class Fate(Enum):
    """Why an update matches no event. The values are names of counters."""

    TOO_OLD = "too_old"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Settled(Generic[T]):
    """An L1Accept is decided; ``tokens`` has one entry a source, None where there is no update for it."""

    event: TimingEvent
    tokens: tuple[T | None, ...]
    damage: Damage
    differences_ns: tuple[int | None, ...]
    """Event minus update, of each source; None where there is no update for it."""


@dataclass(frozen=True, slots=True)
class Discarded(Generic[T]):
    """An update matches no event."""

    source: int
    token: T
    fate: Fate


@dataclass(frozen=True, slots=True)
class Passed:
    """A transition's turn has come: all events before it are settled."""

    event: TimingEvent


@dataclass(frozen=True, slots=True)
class Rejected:
    """An L1Accept came while none are accepted."""

    event: TimingEvent


Outcome = Settled[T] | Discarded[T] | Passed | Rejected


@dataclass(slots=True)
class _Waiting(Generic[T]):
    event: TimingEvent
    arrived_ns: int
    tokens: list[T | None]
    undecided: set[int]
    differences_ns: list[int | None]
    damage: Damage = Damage.NONE


@dataclass(frozen=True, slots=True)
class _Held(Generic[T]):
    timestamp_ns: int
    arrived_ns: int
    token: T


@dataclass
class Matcher(Generic[T]):
    """Matches the events of one timing stream with the updates of ``sources`` PVs.

    ``event`` and ``update`` only queue; ``settle`` yields what is decided. All times named ``now_ns`` are of one
    monotonic clock. Tokens are whatever stands for an update; each one that goes in comes out exactly once.
    """

    compare: Callable[[int, int], int]
    timeout_ns: int
    sources: int = 1
    accepting: bool = True
    """Whether L1Accepts are matched; while not, they come back rejected, in their turn."""
    _events: deque[_Waiting[T]] = field(default_factory=deque, init=False)
    _updates: list[deque[_Held[T]]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._updates = [deque() for _ in range(self.sources)]

    @property
    def pending(self) -> int:
        """Events, transitions included, that are not yet settled."""
        return len(self._events)

    @property
    def held(self) -> int:
        """Updates that are not yet settled: waiting, or kept by an event that misses others."""
        kept = sum(token is not None for waiting in self._events for token in waiting.tokens)
        return sum(map(len, self._updates)) + kept

    def due_ns(self, now_ns: int) -> int | None:
        """Return when the next time-out after ``now_ns`` ends; None when nothing waits for one."""
        waiting = [w.arrived_ns for w in islice(self._events, 1)] + [u[0].arrived_ns for u in self._updates if u]
        return min((at + self.timeout_ns for at in waiting if at + self.timeout_ns > now_ns), default=None)

    def event(self, event: TimingEvent, now_ns: int) -> None:
        """Queue an L1Accept or a transition."""
        undecided = set(range(self.sources)) if event.service is Service.L1_ACCEPT else set[int]()
        self._events.append(_Waiting(event, now_ns, [None] * self.sources, undecided, [None] * self.sources))

    def update(self, source: int, timestamp_ns: int, token: T, now_ns: int) -> None:
        """Queue an update of one PV."""
        self._updates[source].append(_Held(timestamp_ns, now_ns, token))

    def settle(self, now_ns: int) -> Iterator[Outcome[T]]:
        """Yield all that is decided by now, events in order. The caller may queue more, or ``release``, meanwhile."""
        while self._events:
            head = self._events[0]
            if head.event.service is not Service.L1_ACCEPT:
                self._events.popleft()
                yield Passed(head.event)
                continue
            if not self.accepting:
                yield from self._give_up(head)
                self._events.popleft()
                yield Rejected(head.event)
                continue
            yield from self._meet(head)
            if head.undecided:
                yield from self._drop_older(head)
                if now_ns - head.arrived_ns < self.timeout_ns:
                    break
                head.damage |= Damage.TIMED_OUT
            self._events.popleft()
            yield Settled(head.event, tuple(head.tokens), head.damage, tuple(head.differences_ns))
        yield from self._expire(now_ns)

    def release(self) -> Iterator[Discarded[T]]:
        """Yield every update as expired, those included that events had been given already."""
        for waiting in self._events:
            yield from self._give_up(waiting)
        for source, updates in enumerate(self._updates):
            while updates:
                yield Discarded(source, updates.popleft().token, Fate.EXPIRED)

    def finish(self) -> Iterator[Outcome[T]]:
        """Yield all that is left, as if the time-out were over for everything."""
        latest = max((w.arrived_ns for w in self._events), default=0)
        yield from self.settle(latest + self.timeout_ns)
        yield from self.release()

    def _give_up(self, waiting: _Waiting[T]) -> Iterator[Discarded[T]]:
        """Take an event's updates away."""
        for source, token in enumerate(waiting.tokens):
            if token is not None:
                waiting.tokens[source] = waiting.differences_ns[source] = None
                waiting.damage |= Damage.MISSING_DATA
                yield Discarded(source, token, Fate.EXPIRED)

    def _meet(self, head: _Waiting[T]) -> Iterator[Discarded[T]]:
        """Decide what can be decided of one event; yield the updates that are too old for it."""
        for source in sorted(head.undecided):
            updates = self._updates[source]
            while updates:
                update = updates[0]
                order = self.compare(head.event.timestamp_ns, update.timestamp_ns)
                if order > 0:
                    updates.popleft()
                    yield Discarded(source, update.token, Fate.TOO_OLD)
                    continue
                if order == 0:
                    updates.popleft()
                    head.tokens[source] = update.token
                    head.differences_ns[source] = head.event.timestamp_ns - update.timestamp_ns
                else:
                    head.damage |= Damage.MISSING_DATA
                head.undecided.discard(source)
                break

    def _drop_older(self, head: _Waiting[T]) -> Iterator[Discarded[T]]:
        """Yield the updates that are too old for an event that waits for other PVs: no later event can want them."""
        for source, updates in enumerate(self._updates):
            while updates and self.compare(head.event.timestamp_ns, updates[0].timestamp_ns) > 0:
                yield Discarded(source, updates.popleft().token, Fate.TOO_OLD)

    def _expire(self, now_ns: int) -> Iterator[Discarded[T]]:
        """Yield the updates that waited for too long, unless their event waits for another PV."""
        for source, updates in enumerate(self._updates):
            while updates and now_ns - updates[0].arrived_ns >= self.timeout_ns and not self._wanted(source):
                yield Discarded(source, updates.popleft().token, Fate.EXPIRED)

    def _wanted(self, source: int) -> bool:
        """Whether an event in the queue belongs to the first update of ``source``."""
        update_ns = self._updates[source][0].timestamp_ns
        return any(
            source in waiting.undecided and self.compare(waiting.event.timestamp_ns, update_ns) == 0
            for waiting in self._events
        )
