"""The run of one PvMonitor: its transitions, the state it goes to by itself, and payloads that change meanwhile."""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Final, Protocol

from detectors.assembly.datagram import DatagramLayout
from detectors.config import Config, PvaSection
from detectors.errors import CommandError, PebbleDaqError, SizingError, TransitionRefusedError
from detectors.pools.datadev import DriverRing
from detectors.pools.sizing import BufferPlan, plan_buffers
from detectors.run_state import RunState, Service, next_state, path_to
from detectors.sources.image_source import Description
from detectors.wire.timing import TimingEvent
from detectors.workers.monitor_pvs import NotConnectedError, Pvs
from detectors.workers.monitor_store import BufferStore
from detectors.workers.tally import Tally

log = logging.getLogger(__name__)

DRAIN_S: Final = 5.0
"""How long outputs may take to finish before their memory is made anew, s."""

_RETRY_S: Final = 1.0
"""Interval between attempts to reach the run state that was asked for at the start, s."""


class Gate(Protocol):
    """What the run needs of the data path."""

    def queue(self, event: TimingEvent) -> None: ...  # noqa: D102
    @property
    def is_open(self) -> bool: ...  # noqa: D102
    def open_gate(self) -> None: ...  # noqa: D102
    def close_gate(self, *, settle: bool) -> None: ...  # noqa: D102


class MonitorRun:
    """For the event thread, but for ``ask``; the attributes may be read by any.

    ``aim`` is the run state to go to by itself; a command that leads down takes it along.
    """

    def __init__(
        self,
        config: Config,
        source: PvaSection,
        pvs: Pvs,
        store: BufferStore,
        tally: Tally,
        *,
        wake: threading.Event,
        stop: threading.Event,
        aim: RunState = RunState.UNCONFIGURED,
        driver: DriverRing | None = None,
    ) -> None:
        self._config, self._source, self._pvs, self._store, self._tally = config, source, pvs, store, tally
        self._wake, self._stop, self._driver = wake, stop, driver
        self._gate: Gate | None = None
        self._requests: queue.SimpleQueue[tuple[Service, Future[str]]] = queue.SimpleQueue()
        self._asked: deque[tuple[TimingEvent, Future[str]]] = deque()
        self.plan: BufferPlan = plan_buffers(config, source, driver=driver)
        """Of the present buffers; before the first ones what the configuration tells."""
        self.state = RunState.UNCONFIGURED
        self.enabled_ns = 0
        """When the run was last enabled, by the monotonic clock."""
        self.stopping = False
        """Set when the worker ends: transitions are refused from then on."""
        self._aim = aim
        self._started = self._aim_at = time.monotonic()
        self.configuring = False
        """Whether it is at work on a Configure."""
        self._failed = self._refused = self._replanning = ""
        self._stuck: tuple[str, list[Description | None]] | None = None
        """Why there are no buffers for what the PVs send, and what they sent then."""

    def bind(self, gate: Gate) -> None:
        """Say which data path it drives."""
        self._gate = gate

    @property
    def fault(self) -> str:
        """``Failed`` when the last Configure failed, ``Paused`` when the payload changed; else empty."""
        return "Failed" if self._failed else "Paused" if self._paused else ""

    @property
    def message(self) -> str:
        """Why it failed, is paused, or refused a transition."""
        return self._failed or self._paused or self._refused

    @property
    def _paused(self) -> str:
        stuck = self._stuck
        return self._replanning or (stuck[0] if stuck else "") or (self._pvs.mismatch if self._store.present else "")

    # --- commands

    def ask(self, service: str) -> "Future[str]":
        """Ask for a transition by its label, ``Enable``, from any thread; the Future gives the state that it led to.

        It takes its turn behind the events that came before it. The Future raises TransitionRefusedError when it is not
        legal then, and what went wrong when it fails. Raises CommandError for an unknown label.
        """
        known = {s.label: s for s in Service if s is not Service.L1_ACCEPT}
        if service not in known:
            raise CommandError(f"transition: found {service!r}, expected one of {', '.join(known)}")
        answer: Future[str] = Future()
        self._requests.put((known[service], answer))
        self._wake.set()
        return answer

    def look(self) -> None:
        """Queue what was asked for, look after changed payloads, and go a step further to where the run is to be."""
        while not self._requests.empty():
            service, answer = self._requests.get()
            event = TimingEvent(service, 0, 0, 0)
            self._asked.append((event, answer))
            self._the_gate.queue(event)
            self._aim_at = time.monotonic() + _RETRY_S
        self._mind_payload()
        self._pursue_aim()

    def end(self) -> None:
        """Answer whoever still waits."""
        while not self._requests.empty():
            self._requests.get()[1].set_exception(CommandError("the worker is stopping"))

    def transition(self, event: TimingEvent) -> None:
        """Do a transition whose turn has come, or refuse it and say why."""
        answer = self._asked.popleft()[1] if self._asked and self._asked[0][0] is event else None
        try:
            if self.stopping:
                raise TransitionRefusedError(f"{event.service.label} refused: the worker is stopping")
            self._do(event.service, wait=True)
        except PebbleDaqError as error:
            self._tally.add(transitions_refused=1)
            if answer:
                answer.set_exception(error)
            return
        # Who leads the run down wants it to stay there.
        self._aim = self.state if self.state < self._aim and event.service in _DOWN else max(self._aim, self.state)
        if answer:
            answer.set_result(self.state.label)

    # --- transitions

    @property
    def _the_gate(self) -> Gate:
        assert self._gate is not None
        return self._gate

    def _pursue_aim(self) -> None:
        """Take the next step to where the run is to be; a PV may come at any time."""
        now = time.monotonic()
        if self.state >= self._aim or now < self._aim_at or self._asked or self.stopping:
            return
        step = path_to(self.state, self._aim)[0]
        waited = now - self._started >= self._source.connect_timeout_s
        if step is Service.CONFIGURE and not self._pvs.ready(or_declared=waited):
            return
        try:
            self._do(step, wait=False)
        except PebbleDaqError:
            self._aim_at = now + _RETRY_S

    def _do(self, service: Service, *, wait: bool) -> None:
        """Do one transition. Raises PebbleDaqError when it is refused or fails; then the run state stays."""
        try:
            target = next_state(self.state, service)
            if service is Service.CONFIGURE:
                self.configuring = True
                try:
                    self._configure(wait=wait)
                finally:
                    self.configuring = False
            elif service is Service.UNCONFIGURE:
                self._free()
                self._stuck = None
        except PebbleDaqError as error:
            self._note_refusal(service, error)
            raise
        self._refused = self._failed = ""
        self._tally.add(transitions=1)
        if target is not self.state:
            log.info("%s: the run is %s", service.label, target.label)
            if target is RunState.ENABLED:
                self.enabled_ns = time.monotonic_ns()
        self.state = target
        self._open_or_close(settle=False)

    def _note_refusal(self, service: Service, error: PebbleDaqError) -> None:
        text = str(error) if isinstance(error, TransitionRefusedError) else f"{service.label}: {error}"
        if text != self._refused:
            log.error("%s", text)
        self._refused = text
        if service is Service.CONFIGURE and not isinstance(error, NotConnectedError | TransitionRefusedError):
            self._failed = text

    def _configure(self, *, wait: bool) -> None:
        """Wait for the PVs, plan from what they send, and make buffers, or keep those that fit."""
        if wait:
            self._pvs.wait(self._wake, self._stop)
        arrays = self._pvs.arrays()
        layout = self._pvs.layout(arrays)
        buffers = self._store.present
        if buffers and buffers.layout == layout and not self._stuck:
            return
        plan = self._plan_for(layout)
        self._free()
        self._build(plan, layout, arrays)

    def _plan_for(self, layout: DatagramLayout) -> BufferPlan:
        return plan_buffers(self._config, self._source, payload_bytes=layout.payload_bytes, driver=self._driver)

    def _build(self, plan: BufferPlan, layout: DatagramLayout, arrays: Sequence[Description]) -> None:
        buffers = self._store.build(plan, layout)
        self.plan, self._stuck = plan, None
        self._pvs.attach(buffers.transitions, arrays)
        log.info("%d bytes an event; pebble %s", layout.payload_bytes, plan.pebble.why)

    def _free(self) -> None:
        if self._the_gate.is_open:
            self._the_gate.close_gate(settle=True)
        self._pvs.detach()
        if not self._store.free(DRAIN_S):
            log.warning("the outputs took longer than %g s to finish", DRAIN_S)

    def _open_or_close(self, *, settle: bool) -> None:
        gate = self._the_gate
        wanted = self.state is RunState.ENABLED and self._store.present is not None and not self._paused
        if wanted and not gate.is_open:
            gate.open_gate()
        elif not wanted and gate.is_open:
            gate.close_gate(settle=settle)

    # --- payloads that change

    def _mind_payload(self) -> None:
        """Look after PVs that send other arrays than there are buffers for."""
        asking = [i for i in self._pvs.intakes if i.undecided.is_set()]
        replan = asking and self._store.present and self._source.on_payload_change == "replan"
        if replan or (self._stuck and self._stuck[1] != self._pvs.seen()):
            self._replan()
        self._open_or_close(settle=True)
        for intake in asking:  # with the gate open, or its first image would be lost
            intake.leave()

    def _replan(self) -> None:
        """Settle what was staged, and make buffers for what the PVs send now; on failure the run is paused."""
        self._replanning = "the payload changed: making new buffers"
        if self._the_gate.is_open:
            self._the_gate.close_gate(settle=True)
        seen = self._pvs.seen()
        try:
            arrays = self._pvs.arrays()
            self._remake(self._pvs.layout(arrays), arrays)
        except PebbleDaqError as error:
            log.error("paused: %s", error)  # noqa: TRY400  a user's error
            self._stuck = (str(error), seen)
        else:
            self._tally.add(replans=1)
        finally:
            self._replanning = ""

    def _remake(self, layout: DatagramLayout, arrays: Sequence[Description]) -> None:
        try:
            plan = self._plan_for(layout)
        except SizingError as error:
            buffers = self._store.truncate(layout)
            if buffers is None:
                raise
            log.warning("%s; events are truncated", error)
            self._pvs.attach(buffers.transitions, arrays)
            self._stuck = None
        else:
            self._free()
            self._build(plan, layout, arrays)


_DOWN: Final = (Service.DISABLE, Service.END_RUN, Service.UNCONFIGURE)
