"""The events of a PvMonitor on their way: updates matched, everything counted, transitions in their turn. Pure."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from detectors.assembly.free_run import FreeRunPulses
from detectors.assembly.match import COMPARISONS, Discarded, Fate, Matcher, Outcome, Rejected, Settled
from detectors.config import Config, PvaSection
from detectors.frame import Damage
from detectors.run_state import Service
from detectors.wire.timing import TimingEvent
from detectors.workers.monitor.messages import Action, Count, RunCommand, Staged, Timed


@dataclass(frozen=True, slots=True)
class Turn:
    """The turn of a transition has come: all events before it are settled."""

    service: Service
    command: RunCommand | None
    """That asked for it; None for one of the timing stream."""


class Events:
    """Matches events and updates, running free makes events of updates, and says what is to be done with each."""

    def __init__(self, config: Config, source: PvaSection) -> None:
        timeout_ns = source.match_tmo_ms * 1_000_000
        self.matcher: Matcher[Staged] = Matcher(COMPARISONS[source.match], timeout_ns, len(source.pv), accepting=False)
        self._pulses = FreeRunPulses(source.pulse_from, source.pulse_period_ns, config.detector.pulse_id_step)
        self._free_running = config.timing is None
        self._by_time = source.pulse_from == "timestamp"
        self._asked: deque[tuple[TimingEvent, RunCommand]] = deque()

    @property
    def asked(self) -> bool:
        """Whether commands wait for their turn."""
        return bool(self._asked)

    def ask(self, command: RunCommand) -> None:
        """Queue a transition behind the events that came before it."""
        event = TimingEvent(command.service, 0, 0, 0)
        self._asked.append((event, command))
        self.matcher.event(event, 0)

    def event(self, timed: Timed) -> Iterator[Action]:
        """Queue an event of the timing stream."""
        if timed.event.service is Service.L1_ACCEPT:
            yield Count({"l1_accepts": 1, "l1_pending": 1})
        self.matcher.event(timed.event, timed.arrived_ns)

    def go_on_above(self, pulse_id: int) -> None:
        """Make no pulse_id up to this one."""
        self._pulses.above = max(self._pulses.above, pulse_id)

    def update(self, update: Staged) -> Iterator[Action]:
        """Queue an update; running free, one of the first PV is an event too, if it is newer than the last one."""
        if self._free_running and update.pv == 0:
            rebased = self._pulses.rebased
            pulse_id = self._pulses.pulse_id(update.unique_id, update.timestamp_ns)
            if self._by_time and self._pulses.rebased > rebased:
                yield Count({"restarts": 1})
            if pulse_id is None:
                yield Discarded(0, update, Fate.TOO_OLD)
                return
            event = TimingEvent(Service.L1_ACCEPT, pulse_id, update.timestamp_ns, pulse_id)
            yield from self.event(Timed(event, update.arrived_ns))
        self.matcher.update(update.pv, update.timestamp_ns, update, update.arrived_ns)

    def settle(self, now_ns: int) -> Iterator[Action | Turn]:
        """Yield what becomes of all that is decided by now. The caller may stop at any Turn."""
        return self._dispose(self.matcher.settle(now_ns))

    def finish(self) -> Iterator[Action | Turn]:
        """Yield what becomes of all that is left, as if all time-outs were over."""
        return self._dispose(self.matcher.finish())

    def _dispose(self, outcomes: Iterator[Outcome[Staged]]) -> Iterator[Action | Turn]:
        for outcome in outcomes:
            if isinstance(outcome, Discarded):
                yield outcome
            elif isinstance(outcome, Rejected):
                yield Count({"l1_pending": -1, "l1_refused": 1})
            elif isinstance(outcome, Settled):
                if any(token is not None for token in outcome.tokens):
                    yield outcome
                else:  # nothing is written for an event without data
                    yield Count({"l1_pending": -1, "timed_out" if outcome.damage & Damage.TIMED_OUT else "empty": 1})
            else:
                asked = self._asked and self._asked[0][0] is outcome.event
                yield Turn(outcome.event.service, self._asked.popleft()[1] if asked else None)
