"""The worker of one PVA source: sources in, timing in, outputs out, one lock, one snapshot, one stop flag."""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from detectors.buffer.fields import field_names
from detectors.config import Config, PvaSection
from detectors.errors import CommandError, HostError
from detectors.outputs.notifier import Notifier
from detectors.outputs.outputs import worker_name
from detectors.pools.datadev import read_datadev
from detectors.pools.dma import DmaRing
from detectors.pools.host_memory import Machine, check_memory
from detectors.pools.sizing import plan_buffers
from detectors.run_state import RunState, Service
from detectors.runtime import Runtime
from detectors.sources.choice import open_source
from detectors.sources.image_source import ImageSource
from detectors.sources.pvspec import PvSpec, parse_pv_spec
from detectors.sources.timing_receiver import TimingReceiver
from detectors.stats import MonitorStatus
from detectors.workers.control import SNAPSHOT_PERIOD_S, Control
from detectors.workers.monitor.data_path import DataPath
from detectors.workers.monitor.intake import Intake
from detectors.workers.monitor.machine import MonitorMachine, drive
from detectors.workers.monitor.messages import Command, Input
from detectors.workers.monitor.pvs import Pvs, declared
from detectors.workers.monitor.status import MonitorParts, MonitorStatusTaker
from detectors.workers.monitor.store import BufferStore
from detectors.workers.monitor.tally import Tally
from detectors.workers.monitor.timing_ring import TimingRing
from detectors.workers.tuning import QuietCollector, starting_receivers, use_processors

log = logging.getLogger(__name__)

_LONGEST_WAIT_S: Final = 0.25
"""Longest wait for something to do: the stop flag is looked at this often, s."""

OpenSource = Callable[[PvSpec], ImageSource]


def run(config: Config, source: PvaSection, state: RunState) -> int:
    """Monitor one PVA source until told to stop, going to run state ``state`` by itself. Returns the exit code.

    Raises ConfigError, SizingError or HostError for whatever can be known to be wrong before the PV is connected.
    """
    use_processors(source.tuning)
    _check_folder(config)

    def open_pv(spec: PvSpec) -> ImageSource:
        return open_source(
            spec, client=source.client, direct_above=int(source.direct_above), when_full=source.when_full
        )

    worker = MonitorWorker(config, source, open_pv, aim=state)
    with worker.control, ExitStack() as stack:
        worker.open(stack)
        print(f"READY {worker.name} {', '.join(source.pv)}", flush=True)  # noqa: T201  supervisors wait for this line
        collector = QuietCollector()
        stack.callback(collector.close)
        try:
            worker.loop(worker.control.stop, collector.spare_moment)
        except BaseException:
            worker.close("Failed")
            raise
        worker.close()
    return 0


class MonitorWorker:
    """One PvMonitor, its parts put together. Raises ConfigError or SizingError for what is configured wrong.

    The event thread runs ``step`` over and over; sources and the timing stream come in on threads of their own.
    """

    def __init__(self, config: Config, source: PvaSection, open_pv: OpenSource, *, aim: RunState) -> None:
        self.name = worker_name(source)
        self._config, self._source = config, source
        self._runtime = Runtime(config.detector.prefix)
        self._wake = threading.Event()
        self._inbox: deque[Input] = deque()
        driver = read_datadev()
        plan = plan_buffers(config, source, driver=driver)
        if plan.payload_bytes is not None:  # else it is known when the PV is connected
            check_memory([plan], Machine.read([self._runtime.shm(self.name)]))
        specs = [parse_pv_spec(text, config.detector_of(source)) for text in source.pv]
        names = field_names([spec.alias for spec in specs]) if len(specs) > 1 else [specs[0].name]
        tally = Tally()
        self._intakes = [
            Intake(
                number,
                name,
                tally,
                self._post,
                hold=source.when_full == "hold",
                dtype=source.dtype,
                shape=source.shape,
            )
            for number, name in enumerate(names)
        ]
        self._sources = [open_pv(spec) for spec in specs]
        self._store = BufferStore(config, source, self._runtime, tally.lock)
        ring = DmaRing(plan.dma.count, plan.dma.size_bytes) if config.timing else None
        self._timing = TimingRing(ring, tally) if ring else None
        self._receiver: TimingReceiver | None = None
        self._notifier: Notifier | None = None
        self._look_at = 0.0
        pvs = Pvs(names, [declared(spec, source) for spec in specs], source.connect_timeout_s)
        now_ns = time.monotonic_ns()
        self.machine = MonitorMachine(config, source, pvs, aim=aim, now_ns=now_ns, driver=driver)
        self._path = DataPath(self._intakes, self._store, tally, self._inputs, self._notify)
        self._final = ""
        self._more = False
        """Whether events wait in the ring for which there is room now."""
        self._taker = MonitorStatusTaker(
            MonitorParts(
                source, self._sources, self._intakes, self.machine, self._path, self._store, tally, self._timing
            )
        )
        handlers = {"transition": self.ask, "output": self._store.set_output, "folder": self._store.set_folder}
        self.control = Control(self._runtime, self.name, self.snapshot, handlers)

    # --- any thread

    def ask(self, service: str) -> "Future[str]":
        """Ask for a transition by its label, ``Enable``; the Future gives the state that it led to.

        It takes its turn behind the events that came before it. The Future raises TransitionRefusedError when it is not
        legal then, and what went wrong when it fails; cancelled before its turn, it is not carried out. Raises
        CommandError for an unknown label.
        """
        known = {s.label: s for s in Service if s is not Service.L1_ACCEPT}
        if service not in known:
            raise CommandError(f"transition: found {service!r}, expected one of {', '.join(known)}")
        answer: Future[str] = Future()
        self._post(Command(known[service], answer))
        return answer

    def snapshot(self) -> MonitorStatus:
        """Return the present snapshot. For any one thread."""
        return self._taker.take(self._final)

    def _post(self, one: Input) -> None:
        self._inbox.append(one)
        self._wake.set()

    # --- event thread

    def open(self, stack: ExitStack) -> None:
        """Take what others can refuse, and start the threads; ``stack`` ends all of it. Raises HostError."""
        self._notifier = Notifier(self._runtime.notify(self.name))
        stack.callback(self._notifier.close)
        stack.callback(self.close)
        if self._timing and self._config.timing:
            self._receiver = TimingReceiver(self._config.timing, self._timing.ring, self._wake.set)
        with starting_receivers(self._source.tuning):
            for image_source, intake in zip(self._sources, self._intakes, strict=True):
                image_source.start(intake)

    def loop(self, stop: threading.Event, spare_moment: Callable[[], object]) -> None:
        """Run until ``stop`` is set."""
        while not stop.is_set():
            self._wake.clear()
            self.step()
            if not self._more and not self._wake.wait(self._wait_s()):
                spare_moment()

    def step(self) -> None:
        """Take what has come in, and do all that can be done now."""
        room = self.machine.room
        events = self._timing.read(room) if self._timing else []  # first: commands take their turn behind them
        drive(self.machine.step([*events, *self._inputs()], time.monotonic_ns()), self._path.do)
        self._more = len(events) == room and self.machine.room > 0

    def close(self, final: str = "Stopped") -> None:
        """Stop what brings data, settle what has come, and free everything. Idempotent; the first ``final`` stays."""
        for intake in self._intakes:
            intake.close()
        for image_source in self._sources:
            image_source.close()
        if self._receiver:
            self._receiver.close()
        events = self._timing.read(self._timing.ring.stats().count) if self._timing else []
        drive(self.machine.finish([*events, *self._inputs()]), self._path.do)
        self._final = self._final or final

    def _inputs(self) -> list[Input]:
        """Return what has come in, in its order."""
        return [self._inbox.popleft() for _ in range(len(self._inbox))]

    def _wait_s(self) -> float:
        now_ns = time.monotonic_ns()
        due_ns = self.machine.due_ns(now_ns)
        return _LONGEST_WAIT_S if due_ns is None else min(_LONGEST_WAIT_S, (due_ns - now_ns) / 1e9)

    def _notify(self, pulse_id: int) -> None:
        if self._notifier is None:
            return
        now = time.monotonic()
        if now >= self._look_at:
            self._notifier.look()
            self._look_at = now + SNAPSHOT_PERIOD_S
        self._notifier.send(pulse_id)


def _check_folder(config: Config) -> None:
    """Refuse at once a folder that cannot be written. Raises HostError."""
    if config.disk is None:
        return
    folder: Path = config.disk.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(f"{folder}: cannot be made: {error.strerror}; choose another disk.folder") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise HostError(f"{folder}: cannot be written by user {os.getuid()}; choose another disk.folder")
