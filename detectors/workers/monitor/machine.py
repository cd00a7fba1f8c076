"""What a PvMonitor does with PV updates, timing events and commands: a state machine, pure.

Inputs go in by ``step``, which yields actions. Whoever drives it carries each action out before it takes the next one,
and sends the reply where the action has one (``detectors.workers.monitor.messages``). Between two steps the machine is at
rest; a step never begins inside another.
"""

import logging
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Final

from detectors.config import Config, PvaSection
from detectors.errors import PebbleDaqError, TransitionRefusedError
from detectors.pools.datadev import DriverRing
from detectors.run_state import RunState, Service, is_legal, next_state, path_to
from detectors.workers.monitor.events import Events, Turn
from detectors.workers.monitor.memory import Memory
from detectors.workers.monitor.messages import (
    Action,
    Answer,
    Begin,
    Count,
    Gate,
    Input,
    PvChanged,
    Resume,
    Staged,
    Steps,
    Taken,
    Timed,
)
from detectors.workers.monitor.pvs import NotConnectedError, Pvs

log = logging.getLogger(__name__)

RETRY_NS: Final = 1_000_000_000
"""Interval between attempts to reach the run state that was asked for at the start, ns; a command puts them off as long."""

_DOWN: Final = (Service.DISABLE, Service.END_RUN, Service.UNCONFIGURE)


class MonitorMachine:
    """The state of one PvMonitor. All times are ns of one monotonic clock. The attributes may be read by any thread.

    ``aim`` is the run state to go to by itself, from ``now_ns`` on; a command that leads down lowers it.
    """

    def __init__(
        self,
        config: Config,
        source: PvaSection,
        pvs: Pvs,
        *,
        aim: RunState,
        now_ns: int,
        driver: DriverRing | None = None,
    ) -> None:
        self.state = RunState.UNCONFIGURED
        self.memory = Memory(config, source, pvs, driver)
        self._pvs = pvs
        self._events = Events(config, source)
        self._matcher = self._events.matcher
        self._connect_ns = round(source.connect_timeout_s * 1e9)
        self._configure: tuple[Turn, int] | None = None
        """The Configure whose turn has come and that waits for the PVs, and until when."""
        self._aim, self._aim_at_ns, self._started_ns, self._now_ns = aim, now_ns, now_ns, now_ns
        self._stopping = self._making = self._more = False
        self._failed: str = ""
        self._refused: str = ""

    # --- what it shows

    @property
    def configuring(self) -> bool:
        """Whether it is at work on a Configure, or waits for the PVs with one."""
        return self._making or self._configure is not None

    @property
    def fault(self) -> str:
        """``Failed`` when the last Configure failed, ``Paused`` when the payload changed; else empty."""
        return "Failed" if self._failed else "Paused" if self.memory.paused else ""

    @property
    def message(self) -> str:
        """Why it failed, is paused, or refused a transition."""
        return self._failed or self.memory.paused or self._refused

    @property
    def is_open(self) -> bool:
        """Whether updates are taken and matched."""
        return self._matcher.accepting

    @property
    def room(self) -> int:
        """How many timing events can be taken: as many wait as there are pebble slots."""
        return max(0, self.memory.plan.pebble.count - self._matcher.pending)

    def due_ns(self, now_ns: int) -> int | None:
        """Return when ``step`` must be called next although there are no inputs; None when there is no need."""
        due = [self._matcher.due_ns(now_ns)]
        if self._configure:
            due.append(self._configure[1])
        elif self.state < self._aim:
            due += [at for at in (self._aim_at_ns, self._started_ns + self._connect_ns) if at > now_ns]
        return min((at for at in due if at is not None), default=None)

    # --- steps

    def step(self, inputs: Iterable[Input], now_ns: int) -> Steps:
        """Take inputs, and do all that can be done by now."""
        self._now_ns = now_ns
        yield from self._take(inputs)
        self._more = True
        while self._more:
            self._more = False
            yield from self._settle()
            yield from self._follow_payload()
            yield from self._pursue_aim()

    def finish(self, inputs: Iterable[Input]) -> Steps:
        """Take the last inputs, settle everything as if all time-outs were over, refuse all transitions, and free."""
        self._stopping = True
        yield from self._take(inputs)
        if self._configure:
            turn, self._configure = self._configure[0], None
            yield from self._carry_out(turn)
        yield from self._dispose(self._events.finish())
        yield from self._close_gate()
        yield from self.memory.free()
        yield from self._dispose(self._events.finish())  # what the closing gate brought

    def _take(self, inputs: Iterable[Input]) -> Steps:
        for one in inputs:
            if isinstance(one, Staged):
                yield from self._events.update(one)
            elif isinstance(one, Timed):
                yield from self._events.event(one)
            elif isinstance(one, PvChanged):
                self._pvs.change(one)
            elif isinstance(one, Taken):
                self._events.go_on_above(one.pulse_id)
            else:
                self._events.ask(one)
                self._aim_at_ns = self._now_ns + RETRY_NS

    def _settle(self) -> Steps:
        """Settle what is decided by now, up to a Configure that must wait for the PVs."""
        if self._configure:
            turn, until_ns = self._configure
            if not self._pvs.ready(or_declared=False) and self._now_ns < until_ns:
                return
            self._configure = None
            yield from self._carry_out(turn)
        yield from self._dispose(self._events.settle(self._now_ns))

    def _dispose(self, outcomes: Iterable[Action | Turn]) -> Steps:
        for one in outcomes:
            if not isinstance(one, Turn):
                yield one
            elif self._must_wait(one.service):
                self._configure = one, self._now_ns + self._connect_ns
                return
            else:
                yield from self._carry_out(one)

    # --- transitions

    def _must_wait(self, service: Service) -> bool:
        waits = service is Service.CONFIGURE and not self._stopping and is_legal(self.state, service)
        return waits and not self._pvs.ready(or_declared=False)

    def _carry_out(self, turn: Turn) -> Steps:
        """Do a transition whose turn has come, or refuse it; answer the command that asked for it."""
        service, command = turn.service, turn.command
        if command and not (yield Begin(command)):
            return
        if self._stopping:
            error = TransitionRefusedError(f"{service.label} refused: the worker is stopping")
        else:
            error = yield from self._do(service)
        if error:
            yield Count({"transitions_refused": 1})
        else:
            # A run that was led down stays down.
            lowered = self.state < self._aim and service in _DOWN
            self._aim = self.state if lowered else max(self._aim, self.state)
        if command:
            yield Answer(command, error or self.state.label)

    def _pursue_aim(self) -> Steps:
        """Go on towards the aim as far as the PVs allow."""
        now_ns = self._now_ns
        while self.state < self._aim and now_ns >= self._aim_at_ns and not (self._events.asked or self._configure):
            service = path_to(self.state, self._aim)[0]
            waited = now_ns - self._started_ns >= self._connect_ns
            if service is Service.CONFIGURE and not self._pvs.ready(or_declared=waited):
                return
            if (yield from self._do(service)):
                self._aim_at_ns = now_ns + RETRY_NS

    def _do(self, service: Service) -> Generator[Action, Any, PebbleDaqError | None]:
        """Do one transition. Return why it was refused or failed: then the run state stays."""
        try:
            target = next_state(self.state, service)
            if service is Service.CONFIGURE:
                self._making = True
                yield from self.memory.make()
            elif service is Service.UNCONFIGURE:
                yield from self.memory.free()
        except PebbleDaqError as error:
            self._note_refusal(service, error)
            return error
        finally:
            self._making = False
        self._refused = self._failed = ""
        yield Count({"transitions": 1})
        if target is not self.state:
            log.info("%s: the run is %s", service.label, target.label)
        self.state = target
        yield from self._set_gate()
        return None

    def _note_refusal(self, service: Service, error: PebbleDaqError) -> None:
        text = str(error) if isinstance(error, TransitionRefusedError) else f"{service.label}: {error}"
        if text != self._refused:
            log.error("%s", text)
        self._refused = text
        if service is Service.CONFIGURE and not isinstance(error, NotConnectedError | TransitionRefusedError):
            self._failed = text

    # --- buffers and the gate

    def _set_gate(self) -> Steps:
        """Open or close the gate: data is taken while the run is enabled and there are buffers that fit."""
        if not (self.state is RunState.ENABLED and self.memory.layout and not self.memory.paused):
            yield from self._close_gate()
        elif not self.is_open:
            self._matcher.accepting = True
            yield Gate(open=True)

    def _close_gate(self) -> Steps:
        """Take no more data; updates that wait for an event have expired."""
        if self.is_open:
            self._matcher.accepting = False
            late: Sequence[Input] = yield Gate(open=False)
            yield from self._take(late)
            yield from self._matcher.release()
            self._more = True

    def _follow_payload(self) -> Steps:
        """Change the buffers when PVs send other arrays, and let the sources go on that wait for that."""
        waiting = tuple(self._pvs.waiting)
        if self.memory.must_change:
            yield from self._close_gate()
            yield from self.memory.change()
        yield from self._set_gate()
        for pv in waiting:  # with the gate open, or the first image would be lost
            yield Resume(pv)
        self._pvs.waiting.difference_update(waiting)


def drive(steps: Steps, do: Callable[[Action], Any]) -> None:
    """Carry out the actions of one step with ``do``, which returns the replies."""
    try:
        action = next(steps)
        while True:
            action = steps.send(do(action))
    except StopIteration:
        return
