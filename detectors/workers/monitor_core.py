"""One PvMonitor: PV updates and timing events meet, and go to the pebble and its outputs.

The event thread runs ``step`` over and over and owns everything here; sources fill transition slots on threads of their
own (``Intake``), the timing thread fills the DMA ring, and the control thread takes snapshots and hands in commands.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from detectors.assembly.free_run import FreeRunPulses
from detectors.assembly.match import COMPARISONS, Discarded, Matcher, Outcome, Refused, Settled
from detectors.config import Config, PvaSection
from detectors.errors import PoolExhaustedError, WireError
from detectors.frame import Damage
from detectors.pools.dma import DmaRing
from detectors.run_state import RunState, Service
from detectors.stats import DmaStats, MonitorStatus
from detectors.wire.timing import TimingEvent, parse_timing
from detectors.workers.intake import Staged
from detectors.workers.monitor_buffers import Label
from detectors.workers.monitor_pvs import Pvs
from detectors.workers.monitor_run import MonitorRun
from detectors.workers.monitor_status import MonitorStatusTaker, activity
from detectors.workers.monitor_store import BufferStore
from detectors.workers.tally import Tally

log = logging.getLogger(__name__)

_WAIT_S: Final = 0.05
"""Longest wait for an event or an update: time-outs are looked at this often, s."""

_COUNTER_MASK: Final = (1 << 64) - 1
_LARGEST_GAP: Final = 1 << 32
"""A larger step of the event counter is a timing system that started afresh."""


class Monitor:
    """The data path. All methods are for the event thread, but for ``snapshot``."""

    def __init__(
        self,
        config: Config,
        source: PvaSection,
        pvs: Pvs,
        *,
        store: BufferStore,
        run: MonitorRun,
        tally: Tally,
        wake: threading.Event,
        ring: DmaRing | None = None,
        clients: Callable[[], Sequence[str]] = tuple,
        notify: Callable[[int], object] = lambda _: None,
    ) -> None:
        """``ring`` is None without a timing system: then the updates of the first PV are the events.

        ``clients`` tells which client serves each PV at present.
        """
        self._source, self._pvs, self._store, self._run, self._tally = source, pvs, store, run, tally
        self._wake, self._ring, self._notify = wake, ring, notify
        self._matcher: Matcher[Staged] = Matcher(
            COMPARISONS[source.match], source.match_tmo_ms * 1_000_000, len(pvs.intakes), accepting=False
        )
        self._pulses = FreeRunPulses(source.pulse_from, source.pulse_period_ns, config.detector.pulse_id_step)
        self._taker = MonitorStatusTaker(source)
        self._final = ""
        self._last_event_ns = 0
        self._counter: int | None = None
        self._pulse_id = 0
        self._clients = clients
        self._differences_ns = [0] * len(pvs.intakes)
        self._placed_bytes = 0
        run.bind(self)

    def loop(self, stop: threading.Event, spare_moment: Callable[[], object] = lambda: None) -> None:
        """Run until ``stop`` is set."""
        wait_s = min(_WAIT_S, self._source.match_tmo_ms / 4000)
        while not stop.is_set():
            if not self._wake.wait(wait_s):
                spare_moment()
            self._wake.clear()
            self.step()

    def step(self) -> None:
        """Do all that can be done now."""
        self._take_updates()
        self._run.look()
        self._take_events()
        self._settle(self._matcher.settle(time.monotonic_ns()))

    def finish(self, drain_s: float, final: str = "Stopped") -> None:
        """Settle what has come, with sources and timing stopped, and free everything; ``final`` is the last state."""
        self._run.stopping = True
        while True:
            self._take_updates()
            more = self._take_events()
            self._settle(self._matcher.finish())
            if not more:
                break
        self._run.end()
        self.close_gate(settle=False)
        self._store.free(drain_s)
        self._final = self._final or final

    # --- the gate: whether data is taken

    def queue(self, event: TimingEvent) -> None:
        """Queue a transition behind the events that came before it."""
        self._matcher.event(event, time.monotonic_ns())

    @property
    def is_open(self) -> bool:
        """Whether events are matched."""
        return self._matcher.accepting

    def open_gate(self) -> None:
        """Take data from now on."""
        with self._tally.lock:
            self._pvs.accept(True)
        self._matcher.accepting = True

    def close_gate(self, *, settle: bool) -> None:
        """Take no more. With ``settle`` what has come is still matched; what then waits for an event has expired."""
        with self._tally.lock:
            self._pvs.accept(False)
        self._take_updates()
        if settle:
            self._settle(self._matcher.settle(time.monotonic_ns()))
        self._matcher.accepting = False
        self._settle(self._matcher.release())

    # --- in

    def _take_updates(self) -> None:
        for number, intake in enumerate(self._pvs.intakes):
            while intake.staged:
                staged = intake.staged.popleft()
                if self._ring is None and number == 0 and not self._make_event(staged):
                    continue
                self._matcher.update(number, staged.timestamp_ns, staged, staged.arrived_ns)

    def _make_event(self, staged: Staged) -> bool:
        """Make an update of the first PV an event of its own; False when it is not newer than the last one."""
        pulse_id = self._pulses.pulse_id(staged.unique_id, staged.timestamp_ns)
        if pulse_id is None:
            staged.buffer.release()
            self._tally.add(held=-1, too_old=1)
            return False
        event = TimingEvent(Service.L1_ACCEPT, pulse_id, staged.timestamp_ns, pulse_id)
        self._tally.add(l1_accepts=1, l1_pending=1)
        self._matcher.event(event, staged.arrived_ns)
        return True

    def _take_events(self) -> bool:
        """Read the ring while there is room for events, as many as there are pebble slots; False when it is empty."""
        ring = self._ring
        if ring is None:
            return False
        while self._matcher.pending < self._run.plan.pebble.count:
            buffer = ring.read()
            if buffer is None:
                return False
            with buffer:
                try:
                    event = parse_timing(buffer.view)
                except WireError as error:
                    if not self._tally["timing_errors"]:
                        log.warning("%s; further ones are only counted", error)
                    self._tally.add(timing_errors=1)
                    continue
            now_ns = time.monotonic_ns()
            self._count_gap(event.event_counter)
            if event.service is Service.L1_ACCEPT:
                self._last_event_ns = now_ns
                self._tally.add(l1_accepts=1, l1_pending=1)
            self._matcher.event(event, now_ns)
        return True

    def _count_gap(self, counter: int) -> None:
        if self._counter is not None:
            ahead = (counter - self._counter) & _COUNTER_MASK
            if 1 < ahead < _LARGEST_GAP:
                self._tally.add(l1_missed=ahead - 1)
        self._counter = counter

    # --- out

    def _settle(self, outcomes: Iterator[Outcome[Staged]]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Settled):
                self._settle_event(outcome)
            elif isinstance(outcome, Discarded):
                outcome.token.buffer.release()
                self._tally.add(held=-1, **{outcome.fate.value: 1})
            elif isinstance(outcome, Refused):
                self._tally.add(l1_pending=-1, l1_refused=1)
            else:
                self._run.transition(outcome.event)

    def _settle_event(self, settled: Settled[Staged]) -> None:
        """Count an event without data: nothing is written for it. Place one with data, whatever it lacks."""
        if any(token is not None for token in settled.tokens):
            for number, difference_ns in enumerate(settled.differences_ns):
                if difference_ns is not None:
                    self._differences_ns[number] = difference_ns
            self._place(settled)
        else:
            self._tally.add(l1_pending=-1, **{"timed_out" if settled.damage & Damage.TIMED_OUT else "empty": 1})

    def _place(self, settled: Settled[Staged]) -> None:
        buffers, event = self._store.present, settled.event
        assert buffers is not None
        updates = [t for t in settled.tokens if t is not None]
        count, first = len(updates), updates[0].unique_id
        frame_index = event.event_counter if first is None else first
        label = Label(event.pulse_id, frame_index, event.env, event.timestamp_ns, settled.damage)
        try:
            lease = buffers.place(label, settled.tokens)
        except PoolExhaustedError:
            lease = None
        for update in updates:
            update.buffer.release()
        if lease is None:
            self._tally.add(held=-count, exhausted=count, l1_pending=-1, l1_exhausted=1)
            return
        partial, truncated = count < len(settled.tokens), buffers.truncates
        with self._tally.lock:
            buffers.outputs.offer(lease)
            self._tally.add(held=-count, match=count, l1_pending=-1, placed=1, partial=partial, truncated=truncated)
            self._pulse_id = event.pulse_id
            self._placed_bytes += sum(u.nbytes for u in updates)
        self._notify(event.pulse_id)

    # --- snapshots

    def snapshot(self) -> MonitorStatus:
        """Return the present snapshot. For any one thread."""
        while True:
            # The outputs may look at disks that hang: they are not asked under the lock that the data path needs.
            buffers, placed = self._store.present, self._tally["placed"]
            outputs = self._store.outputs(buffers)
            with self._tally.lock:
                if self._store.present is buffers and self._tally["placed"] == placed:
                    outputs = self._store.with_past(outputs)
                    pebble, transition = self._store.pools()
                    return self._taker.take(
                        state=self._state(),
                        message=self._run.message or self._pvs.message,
                        run_state=self._run.state,
                        intakes=self._pvs.intakes,
                        updates=replace(self._tally.freeze(), restarts=self._restarts()),
                        placed_bytes=self._placed_bytes,
                        pulse_id=self._pulse_id,
                        differences_ns=self._differences_ns,
                        clients=self._clients(),
                        dma=self._dma(),
                        pebble=pebble,
                        transition=transition,
                        disk=outputs["disk"],
                        zmq=outputs["zmq"],
                    )

    def _state(self) -> str:
        if self._final:
            return self._final
        if self._run.configuring:
            return "Configuring"
        if fault := self._run.fault:
            return fault
        if not self._pvs.up:
            return "Connecting"
        if self._run.state is not RunState.ENABLED:
            return "Idle"
        last_event_ns = None if self._ring is None else self._last_event_ns
        return activity(self._pvs.intakes, self._run.enabled_ns, last_event_ns, time.monotonic_ns())

    def _restarts(self) -> int:
        """Return the restarts of uniqueId, or of the clock where that gives the pulses."""
        clock = self._pulses.rebased if self._source.pulse_from == "timestamp" else 0
        return self._tally["restarts"] + clock

    def _dma(self) -> DmaStats:
        if self._ring is not None:
            return self._ring.stats()
        dma = self._run.plan.dma
        return DmaStats(count=dma.count, size_bytes=dma.size_bytes, total_bytes=dma.total_bytes)
