"""Our monitor under measurement: the process, with images of one or several PVs, with a disk or without."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq

from bench.pva_images import Source
from bench.worker_process import WorkerProcess

SLOTS = {1: 32, 4: 16, 16: 8, 74: 8}
"""Slots of the pebble, and of each PV's transition pool, by the MiB of an image: few, for the sake of memory."""

_LOOK_S = 0.01
_PATIENCE_MS = 3000


@dataclass(frozen=True)
class Burst:
    """What one burst of images came to."""

    mb_per_s: float
    cpu_per_gb: float
    lost: int
    """Images that were sent and are not in the pebble, or not on the disk."""


class Monitor(WorkerProcess):
    """``pebbledaq monitor`` of one event source: image ``n`` of every PV together are event ``n``.

    A source that sends faster than the monitor takes is held back, so that all images count.
    """

    def __init__(self, mib: int, pvs: Sequence[str], environment: Mapping[str, str], *, disk: Path | None) -> None:
        config = f"""
[dma]
cfgRxCount = {SLOTS[mib] - 1}
cfgSize = "{mib * len(pvs)} MiB"
[pools]
exhausted_wait_s = 10
[[pva]]
name = "CAM"
pv = {list(pvs)}
client = "direct"
when_full = "hold"
match_tmo_ms = 20000
connect_timeout_s = 20
"""
        config += f'[disk]\nfolder = "{disk}"\nmin_free = "1 MiB"\n' if disk else ""
        super().__init__("monitor", "pva.CAM", config, environment)
        self._image_gb = (mib << 20) / 1e9
        self._disk = disk is not None
        self._context = zmq.Context()
        self._told = self._context.socket(zmq.SUB)
        self._told.subscribe(b"")
        self._told.connect(self.notify)

    def prime(self, sources: Sequence[Source]) -> None:
        """Show it an image of each PV, which tells it what memory to make, and one more once it takes data."""
        _send(sources, 1)
        self._until(lambda status: status["run_state"] == "Enabled", 60)
        sent = 1
        while not self._told.poll(200):  # nor does it tell of events before it has seen that somebody listens
            _send(sources, 1)  # of the first ones some may have come too early: these settle what waits for them
            sent += 1
            self._until(lambda status: _settled(status, sent * len(sources)), 60)  # noqa: B023  used at once

    def take(self, sources: Sequence[Source], count: int) -> Burst:
        """Let each source send ``count`` images, and return what they came to once all is settled.

        The time ends with the last event in the pebble, as the monitor itself tells, or on the disk; it begins with the
        first byte sent, because images of several PVs come at the same time.
        """
        while self._told.poll(0):
            self._told.recv()
        before = self.status
        for source in sources:
            source.prepare(count)
        images = count * len(sources)
        cpu_s, started = self.cpu_s(), time.monotonic()
        for source in sources:
            source.go()
        ended = self._hear(count)
        for source in sources:
            source.sent()
        updates = before["updates"]["updates"] + images
        status = self._until(lambda status: _settled(status, updates), 60)
        if self._disk:
            ended = time.monotonic()
        wall_s, cpu_s = ended - started, self.cpu_s() - cpu_s
        gb = images * self._image_gb
        lost = images - (status["updates"]["match"] - before["updates"]["match"])
        if self._disk:
            lost += count - (status["disk"]["written"] - before["disk"]["written"])
        return Burst(gb * 1e3 / wall_s, cpu_s / gb, lost)

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


def _send(sources: Sequence[Source], count: int) -> None:
    for source in sources:
        source.prepare(count)
    for source in sources:
        source.go()
    for source in sources:
        source.sent()


def _settled(status: dict[str, Any], updates: int) -> bool:
    """Whether so many updates have come in all, and all of them are where they go."""
    counts = status["updates"]
    waiting = counts["held"] or counts["l1_pending"] or status["disk"]["queued"]
    return counts["updates"] >= updates and not waiting
