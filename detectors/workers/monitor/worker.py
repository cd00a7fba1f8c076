"""The worker of one PVA source: its threads, start and end."""

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from detectors.buffer.fields import field_names
from detectors.config import Config, PvaSection
from detectors.errors import HostError
from detectors.outputs.notifier import Notifier
from detectors.outputs.outputs import ACCOUNTS
from detectors.outputs.stage import StageAccount
from detectors.pools.datadev import read_datadev
from detectors.pools.dma import DmaRing
from detectors.pools.host_memory import Machine, check_memory
from detectors.pools.sizing import plan_buffers
from detectors.run_state import RunState, Service, service_by_label
from detectors.sources.image_source import ImageSource, open_source
from detectors.sources.pvspec import PvSpec, parse_pv_spec
from detectors.sources.timing_receiver import TimingReceiver
from detectors.stats import MonitorStatus
from detectors.worker_names import worker_name
from detectors.workers.account import Account
from detectors.workers.monitor.account import MonitorAccount
from detectors.workers.monitor.data_path import DataPath
from detectors.workers.monitor.inbox import Inbox
from detectors.workers.monitor.intake import Intake
from detectors.workers.monitor.machine import MonitorMachine, drive
from detectors.workers.monitor.messages import RunCommand, Taken
from detectors.workers.monitor.pvs import Pvs, conform, declared
from detectors.workers.monitor.status import MonitorStatusTaker
from detectors.workers.monitor.store import BufferStore
from detectors.workers.monitor.tally import Tally
from detectors.workers.monitor.timing_ring import TimingRing
from detectors.workers.runtime import BUSY_S, QUIET_S, run_worker
from detectors.workers.tuning import starting_receivers, use_processors
from detectors.workers.wake import Wake

OpenSource = Callable[[PvSpec], ImageSource]


def run(config: Config, source: PvaSection, state: RunState) -> int:
    """Monitor one PVA source until it is to stop, going to run state ``state`` by itself. Returns the exit code.

    Raises ConfigError, SizingError or HostError for whatever can be known to be wrong before the PV is connected.
    """
    use_processors(source.tuning)
    _check_folder(config.disk_folder(source))

    def open_pv(spec: PvSpec) -> ImageSource:
        return open_source(
            spec, client=source.client, direct_above=int(source.direct_above), when_full=source.when_full
        )

    return run_worker(MonitorWorker(config, source, open_pv, aim=state), config)


class MonitorWorker:
    """The part of a worker that is one PvMonitor. Raises ConfigError or SizingError for what is configured wrong.

    The data thread runs the state machine; sources and the timing stream bring inputs on threads of their own.
    """

    empty = MonitorStatus()

    def __init__(self, config: Config, source: PvaSection, open_pv: OpenSource, *, aim: RunState) -> None:
        self.name = worker_name(source)
        self._config, self._source, self._runtime = config, source, config.runtime_names
        self._inbox = Inbox()
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
                self._inbox.post,
                hold=source.when_full == "hold",
                conform=partial(conform, name=name, spec=spec, source=source),
            )
            for number, (name, spec) in enumerate(zip(names, specs, strict=True))
        ]
        self._sources = [open_pv(spec) for spec in specs]
        self._store = BufferStore(config, source, self._inbox.post)
        self._timing = None
        if config.timing:
            ring = DmaRing(plan.dma.count, plan.dma.size_bytes, checked=config.pools_of(source).checked)
            self._timing = TimingRing(ring, tally)
        self._receiver: TimingReceiver | None = None
        self._notifier: Notifier | None = None
        self._look_at = 0.0
        self._finished: list[int] = []
        """Pulses of this step that are not told yet."""
        pvs = Pvs(names, [declared(spec, source) for spec in specs], source.connect_timeout_s)
        now_ns = time.monotonic_ns()
        self.machine = MonitorMachine(config, source, pvs, aim=aim, now_ns=now_ns, driver=driver)
        self._account = MonitorAccount(tally, self._intakes, self._timing)
        self.blocks = self._account.blocks
        self._path = DataPath(
            self._intakes, self._store, tally, self._inbox.take, self._finished.append, enter=self._account.enter
        )
        self._taker = MonitorStatusTaker(
            source, self._sources, self._intakes, self.machine, self._path, self._store, tally, self._timing
        )

    @property
    def commands(self) -> Mapping[str, Callable[..., Any]]:
        """Run transitions, and what concerns the outputs."""
        return {"transition": self.ask, "output": self._store.set_output, "folder": self._store.set_folder}

    def open(self, stack: ExitStack, wake: Wake, account: Account) -> str:
        """Take what others can refuse, and start the threads. Raises HostError."""
        self._path.pulse_id = self._account.go_on(account["data"], account.last)
        if self._config.timing is None and self._path.pulse_id:
            self._inbox.post(Taken(self._path.pulse_id))
        self._store.accounts = {output: StageAccount(account[output]) for output in ACCOUNTS}
        self._inbox.open(wake)
        self._notifier = Notifier(self._runtime.notify(self.name))
        stack.callback(self._notifier.close)
        stack.callback(lambda: self.finish(time.monotonic()))
        if self._timing and self._config.timing:
            self._receiver = TimingReceiver(self._config.timing, self._timing.ring, wake.ring)
        with starting_receivers(self._source.tuning):
            for image_source, intake in zip(self._sources, self._intakes, strict=True):
                image_source.start(intake)
        return ", ".join(self._source.pv)

    def step(self) -> float:
        """Take what has come in, and do all that can be done now. Return how long to wait if nothing comes, s."""
        self._inbox.gather(self.machine.memory.plan.pebble.count)
        room = self.machine.room
        events = self._timing.read(room) if self._timing else []  # first: commands take their turn behind them
        inputs = [*events, *self._inbox.take()]
        drive(self.machine.step(inputs, time.monotonic_ns()), self._path.do)
        self._tell()
        if inputs or not self._inbox.listen():
            self._account.enter(self._path.pulse_id)
            return 0.0
        now_ns = time.monotonic_ns()
        due_ns = self.machine.due_ns(now_ns)
        return QUIET_S if due_ns is None else min(QUIET_S, (due_ns - now_ns) / 1e9)

    def snapshot(self) -> MonitorStatus:
        """Return all there is to know, of this moment."""
        status = self._taker.take()
        self._account.enter(self._path.pulse_id)
        # A snapshot is published before a command's turn, and not again until that is over: making buffers takes a while.
        asked = any(isinstance(one, RunCommand) and one.service is Service.CONFIGURE for one in self._inbox.peek())
        return replace(status, state="Configuring") if asked else status

    def finish(self, deadline_s: float) -> None:
        """Stop what brings data, settle what has come, and free everything. Idempotent."""
        for intake in self._intakes:
            intake.close()
        for image_source in self._sources:
            image_source.close()
        if self._receiver:
            self._receiver.close()
        events = self._timing.read(self._timing.ring.stats().count) if self._timing else []
        self._path.drain_s = max(0.0, deadline_s - time.monotonic())
        drive(self.machine.finish([*events, *self._inbox.take()]), self._path.do)
        self._tell()

    def ask(self, service: str) -> "Future[str]":
        """Ask for a transition by its label, ``Enable``; the Future gives the state that it led to.

        It takes its turn behind the events that came before it. The Future raises TransitionRefusedError when it is not
        legal then, and what went wrong when it fails; cancelled before its turn, it is not carried out. Raises
        CommandError for an unknown label.
        """
        transition = service_by_label(service)
        answer: Future[str] = Future()
        self._inbox.post(RunCommand(transition, answer))
        return answer

    def _tell(self) -> None:
        """Tell other processes of this step's pulses: at its end, since each message lets other threads go first."""
        if not self._finished or self._notifier is None:
            return
        now = time.monotonic()
        if now >= self._look_at:
            self._notifier.look()
            self._look_at = now + BUSY_S
        for pulse_id in self._finished:
            self._notifier.send(pulse_id)
        self._finished.clear()


def _check_folder(folder: Path | None) -> None:
    """Refuse at once a folder that cannot be written. Raises HostError."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(f"{folder}: cannot be made: {error.strerror}; choose another disk.folder") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise HostError(f"{folder}: cannot be written by user {os.getuid()}; choose another disk.folder")
