"""Our monitor under measurement: the process, with images of one PV."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import zmq

from bench.pva_images import Source
from bench.worker_process import WorkerProcess

SLOTS = {1: 32, 4: 16, 16: 8, 74: 8}
"""Slots of the pebble, and of every other contender, by the MiB of an image: few, for the sake of memory."""

_LOOK_S = 0.01
_PATIENCE_MS = 3000


@dataclass(frozen=True)
class Burst:
    """What one burst of images came to."""

    mb_per_s: float
    cpu_per_gb: float
    lost: int
    """Images that were sent and were not received, or are not in the pebble."""


class Monitor(WorkerProcess):
    """``pebbledaq monitor`` of one PV that runs free: each image is an event.

    A source that sends faster than the monitor takes is held back, so that all images count.
    """

    def __init__(self, mib: int, pv: str, environment: Mapping[str, str]) -> None:
        config = f"""
[dma]
cfgRxCount = {SLOTS[mib] - 1}
cfgSize = "{mib} MiB"
[pools]
exhausted_wait_s = 10
[[pva]]
name = "CAM"
pv = "{pv}"
client = "direct"
when_full = "hold"
match_tmo_ms = 20000
connect_timeout_s = 20
"""
        super().__init__("monitor", "pva.CAM", config, environment)
        self._image_gb = (mib << 20) / 1e9
        self._context = zmq.Context()
        self._told = self._context.socket(zmq.SUB)
        self._told.subscribe(b"")
        self._told.connect(self.notify)

    def prime(self, source: Source) -> None:
        """Post images until the monitor announces them; it takes memory by the size of the first."""
        _send(source, 1)
        self._until(lambda status: status["run_state"] == "Enabled", 60)
        sent = 1
        while not self._told.poll(200):  # it announces nothing before it has seen the subscription
            _send(source, 1)
            sent += 1
            self._until(lambda status: _settled(status, sent), 60)  # noqa: B023  used at once

    def take(self, source: Source, count: int) -> Burst:
        """Let the source send ``count`` images, and return what they came to once all is settled.

        The time begins with the first byte sent and ends with the last event in the pebble, as the monitor itself tells.
        """
        while self._told.poll(0):
            self._told.recv()
        before = self.status["updates"]
        source.prepare(count)
        cpu_s, started = self.cpu_s(), time.monotonic()
        source.go()
        wall_s = self._hear(count) - started
        source.sent()
        status = self._until(lambda status: _settled(status, before["updates"] + count), 60)
        gb = count * self._image_gb
        lost = count - (status["updates"]["match"] - before["match"])
        return Burst(gb * 1e3 / wall_s, (self.cpu_s() - cpu_s) / gb, lost)

    def __exit__(self, *exc: object) -> None:
        self._context.destroy(linger=0)
        super().__exit__(*exc)

    def _hear(self, count: int) -> float:
        """Return when the last of so many events, if all come, was in the pebble; monotonic, s."""
        last = time.monotonic()
        while count and self._told.poll(_PATIENCE_MS):
            self._told.recv()
            last, count = time.monotonic(), count - 1
        return last

    def _until(self, condition: Callable[[dict[str, Any]], bool], timeout_s: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while not condition(status := self.status):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the monitor did not get there: {status}")
            time.sleep(_LOOK_S)
        return status


def _send(source: Source, count: int) -> None:
    source.prepare(count)
    source.go()
    source.sent()


def _settled(status: dict[str, Any], updates: int) -> bool:
    """Whether so many updates have come in all, and all of them are where they go."""
    counts = status["updates"]
    return counts["updates"] >= updates and not (counts["held"] or counts["l1_pending"])
