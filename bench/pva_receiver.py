"""One receiver of images, measured: ``python -m bench.pva_receiver CLIENT PV NBYTES COUNT SLOTS``; prints JSON.

CLIENT is "raw" (recv_into, nothing else), "p4p" or "pvapy". The first images are not counted.
"""

import contextlib
import json
import mmap
import os
import resource
import socket
import sys
import threading
import time

import numpy as np

from detectors.pools.heap import ARENA_MAX, MMAP_MAX, TOP_PAD, TRIM_THRESHOLD, tune_heap

WARM = 4
PATIENCE_S = 60


class Meter:
    """Counts images from the first one after warming up to the last one wanted, and has a slot for each."""

    def __init__(self, nbytes: int, count: int, slots: int) -> None:
        self._nbytes, self._count = nbytes, count
        self._slots = [_slot(nbytes) for _ in range(slots)]
        self._seen = self._missed = 0
        self._last: int | None = None
        self._start: tuple[float, float] | None = None
        self.done = threading.Event()
        self.result: dict[str, float] = {}

    @property
    def slot(self) -> memoryview:
        """The slot of the next image."""
        return self._slots[self._seen % len(self._slots)]

    def copy(self, pixels: np.ndarray, number: int) -> None:
        """Take an image that lies somewhere else."""
        np.copyto(np.frombuffer(self.slot, np.uint8), pixels.view(np.uint8))
        self.image(number)

    def image(self, number: int) -> None:
        """Take note that an image is in its slot."""
        if self._last is not None:
            self._missed += number - self._last - 1
        self._last = number
        self._seen += 1
        if self._start is None and self._seen >= WARM:
            self._start, self._seen, self._missed = _now(), 0, 0
        elif self._start is not None and number == self._count - 1:
            wall_s, cpu_s = (b - a for a, b in zip(self._start, _now(), strict=True))
            gb = self._seen * self._nbytes / 1e9
            self.result = {"mb_per_s": gb * 1e3 / wall_s, "cpu_per_gb": cpu_s / gb, "missed": self._missed}
            self.done.set()


def _slot(nbytes: int) -> memoryview:
    memory = mmap.mmap(-1, nbytes)
    with contextlib.suppress(OSError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    memory[::4096] = b"\1" * len(memory[::4096])
    return memoryview(memory)


def _now() -> tuple[float, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.monotonic(), used.ru_utime + used.ru_stime


def raw(meter: Meter, nbytes: int, count: int) -> None:
    with socket.create_connection(("127.0.0.1", int(os.environ["EPICS_PVA_SERVER_PORT"]))) as sock:
        for number in range(count):
            slot, at = meter.slot, 0
            while at < nbytes:
                at += sock.recv_into(slot[at:], 0, socket.MSG_WAITALL)
            meter.image(number)


def p4p(meter: Meter, pv: str) -> None:
    """Receive with p4p as fast as it goes: its arrays from one heap that is never given back."""
    tune_heap({MMAP_MAX: 0, ARENA_MAX: 1, TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 400 << 20})
    from p4p import Value
    from p4p.client.raw import Context

    wake = threading.Event()
    with Context("pva", nt=False, useenv=True) as context:
        subscription = context.monitor(pv, wake.set, request="record[queueSize=8]field()")
        while not meter.done.is_set() and wake.wait(PATIENCE_S):
            wake.clear()
            while (update := subscription.pop()) is not None:
                if isinstance(update, Value):
                    meter.copy(update["value"], update["uniqueId"])
        subscription.close()


def pvapy(meter: Meter, pv: str) -> None:
    """Receive with pvapy; its callback is called by the C++ client."""
    import pvaccess

    def take(update: pvaccess.PvObject) -> None:
        (pixels,) = update["value"][0].values()
        meter.copy(pixels, update["uniqueId"])

    channel = pvaccess.Channel(pv, pvaccess.PVA)
    channel.monitor(take, "record[queueSize=8]field()")
    meter.done.wait(PATIENCE_S)
    channel.stopMonitor()


def main(client: str, pv: str, nbytes: int, count: int, slots: int) -> None:
    meter = Meter(nbytes, count, slots)
    if client == "raw":
        raw(meter, nbytes, count)
    else:
        (p4p if client == "p4p" else pvapy)(meter, pv)
    print(json.dumps(meter.result), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
