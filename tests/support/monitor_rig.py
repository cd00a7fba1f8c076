"""A whole monitor but for its threads: the test is the source, the timing system and the event thread."""

from contextlib import ExitStack
from typing import Any

from detectors.balance import balance
from detectors.buffer.reader import BufferReader
from detectors.config import Config
from detectors.pools.dma import DmaRing
from detectors.run_state import RunState, Service
from detectors.stats import MonitorStatus
from detectors.wire.timing import TimingEvent, encode_timing
from detectors.workers.account import Account
from detectors.workers.monitor.worker import MonitorWorker
from detectors.workers.wake import Wake
from tests.support.fake_source import FakeSource
from tests.support.waiting import until


class MonitorRig:
    """A monitor, its sources and its timing system."""

    def __init__(self, config: Config, state: RunState, sources: list[FakeSource], stack: ExitStack) -> None:
        self.config, self.sources = config, sources
        waiting = iter(sources)
        self.worker = MonitorWorker(config, config.pva[0], lambda _: next(waiting), aim=state)
        config.runtime_names.make_folder()  # as run_part does, which is not running here
        wake = Wake()
        stack.callback(wake.close)
        self.account = Account(config.runtime_names.counters(self.worker.name), self.worker.empty, self.worker.blocks)
        self.worker.open(stack, wake, self.account)
        self._counter = 0

    @property
    def source(self) -> FakeSource:
        return self.sources[0]

    @property
    def ring(self) -> DmaRing:
        assert self.worker._timing is not None
        return self.worker._timing.ring

    @property
    def status(self) -> MonitorStatus:
        status = self.worker.snapshot()
        assert {line: off for line, off in balance(status).items() if off} == {}
        return status

    def step(self, times: int = 1) -> MonitorStatus:
        for _ in range(times):
            self.worker.step()
        return self.status

    def up(self) -> MonitorStatus:
        """Connect all, and let the run reach its aim."""
        for source in self.sources:
            assert source.connect() == ""
        status = self.step(3)
        assert status.run_state == "Enabled", status.message
        return status

    def event(self, service: Service, n: int = 0, timestamp_ns: int | None = None) -> None:
        self._counter += 1
        stamp = n * 1000 if timestamp_ns is None else timestamp_ns
        self.ring.push(encode_timing(TimingEvent(service, n, stamp, self._counter, env=77)))

    def l1(self, *pulses: int) -> None:
        for n in pulses:
            self.event(Service.L1_ACCEPT, n)

    def ask(self, *services: str) -> MonitorStatus:
        for service in services:
            answer = self.worker.ask(service)
            until(lambda answer=answer: self.step() and answer.done())
            answer.result(0)
        return self.status

    def written(self, count: int) -> MonitorStatus:
        """Wait until so many frames are on disk."""
        return until(lambda: self.status, lambda status: status.disk.written >= count)

    def frame(self, pulse_id: int, folder: str = "DET-CAM") -> Any:
        assert self.config.disk is not None
        return BufferReader(self.config.disk.folder / folder).read_frame(pulse_id)
