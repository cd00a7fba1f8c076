"""The worker of one PVA source: sources in, timing in, outputs out, one lock, one snapshot, one stop flag."""

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from detectors.buffer.fields import field_names
from detectors.config import Config, PvaSection
from detectors.errors import HostError
from detectors.outputs.outputs import worker_name
from detectors.pools.datadev import read_datadev
from detectors.pools.dma import DmaRing
from detectors.pools.host_memory import Machine, check_memory
from detectors.pools.sizing import BufferPlan, plan_buffers
from detectors.run_state import RunState
from detectors.runtime import Runtime
from detectors.sources.choice import open_source
from detectors.sources.image_source import ImageSource
from detectors.sources.pvspec import PvSpec, parse_pv_spec
from detectors.sources.timing import TimingReceiver
from detectors.workers.control import SNAPSHOT_PERIOD_S, Control
from detectors.workers.intake import Intake
from detectors.workers.monitor_core import Monitor
from detectors.workers.monitor_pvs import Pvs, declared
from detectors.workers.monitor_run import MonitorRun
from detectors.workers.monitor_store import BufferStore
from detectors.workers.notifier import Notifier
from detectors.workers.tally import Tally
from detectors.workers.tuning import QuietCollector, starting_receivers, use_processors

log = logging.getLogger(__name__)

_STOP_DRAIN_S: Final = 1.0
"""How long the outputs may take at the end before that is said in the log; they are waited for all the same."""

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
            worker.monitor.loop(worker.control.stop, collector.spare_moment)
        except BaseException:
            worker.close("Failed")
            raise
        worker.close()
    return 0


class MonitorWorker:
    """All parts of one PvMonitor, put together. Raises ConfigError or SizingError for what is configured wrong."""

    def __init__(self, config: Config, source: PvaSection, open_pv: OpenSource, *, aim: RunState) -> None:
        self.name = worker_name(source)
        self._config = config
        self._tuning = source.tuning
        self._runtime = Runtime(config.detector.prefix)
        self._wake, stop = threading.Event(), threading.Event()
        driver = read_datadev()
        plan = plan_buffers(config, source, driver=driver)
        specs = [parse_pv_spec(text, config.detector_of(source)) for text in source.pv]
        self.tally = Tally()
        names = field_names([spec.alias for spec in specs]) if len(specs) > 1 else [specs[0].name]
        self._intakes = [self._intake(name, source) for name in names]
        self._sources = [open_pv(spec) for spec in specs]
        self._pvs = Pvs(self._intakes, [declared(spec, source) for spec in specs], source.connect_timeout_s)
        self._store = BufferStore(config, source, self._runtime, self.tally.lock)
        self._check_memory(plan)
        self._ring = DmaRing(plan.dma.count, plan.dma.size_bytes) if config.timing else None
        self._timing: TimingReceiver | None = None
        self._notifier: Notifier | None = None
        self._look_at = 0.0
        self.run = MonitorRun(
            config, source, self._pvs, self._store, self.tally, wake=self._wake, stop=stop, aim=aim, driver=driver
        )
        self.monitor = Monitor(
            config,
            source,
            self._pvs,
            store=self._store,
            run=self.run,
            tally=self.tally,
            wake=self._wake,
            ring=self._ring,
            clients=lambda: [image_source.name for image_source in self._sources],
            notify=self._notify,
        )
        handlers = {"transition": self.run.ask, "output": self._store.set_output, "folder": self._store.set_folder}
        self.control = Control(self._runtime, self.name, self.monitor.snapshot, handlers, stop)

    def open(self, stack: ExitStack) -> None:
        """Take what others can refuse, and start the threads; ``stack`` ends all of it. Raises HostError."""
        self._notifier = Notifier(self._runtime.notify(self.name))
        stack.callback(self._notifier.close)
        stack.callback(self.close)
        if self._ring is not None and self._config.timing:
            self._timing = TimingReceiver(self._config.timing, self._ring, self._wake.set)
        with starting_receivers(self._tuning):
            for image_source, intake in zip(self._sources, self._intakes, strict=True):
                image_source.start(intake)

    def close(self, final: str = "Stopped") -> None:
        """Stop what brings data, settle what has come, and free everything. Idempotent; the first ``final`` stays."""
        self._stop_threads()
        self.monitor.finish(_STOP_DRAIN_S, final)

    def _stop_threads(self) -> None:
        for intake in self._intakes:
            intake.close()
        for image_source in self._sources:
            image_source.close()
        if self._timing is not None:
            self._timing.close()

    def _notify(self, pulse_id: int) -> None:
        if self._notifier is None:
            return
        now = time.monotonic()
        if now >= self._look_at:
            self._notifier.look()
            self._look_at = now + SNAPSHOT_PERIOD_S
        self._notifier.send(pulse_id)

    def _intake(self, name: str, source: PvaSection) -> Intake:
        return Intake(
            name,
            self.tally,
            self._wake.set,
            hold=source.when_full == "hold",
            dtype=source.dtype,
            shape=source.shape,
        )

    def _check_memory(self, plan: BufferPlan) -> None:
        """Refuse at once a plan that the host cannot hold, where the payload is known beforehand."""
        if plan.payload_bytes is not None:
            check_memory([plan], Machine.read([self._runtime.shm(self.name)]))


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
