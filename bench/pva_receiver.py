"""One receiver of images, measured: ``python -m bench.pva_receiver CLIENT PV NBYTES COUNT``; prints JSON.

CLIENT is "raw" (recv_into, nothing else), "direct", "p4p" (its allocator tuned) or "p4p-untuned". All receive into the
same few slots, faulted beforehand. The first images are not counted.
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

from detectors.sources.image_sink import Description
from detectors.sources.image_source import ImageSource
from detectors.sources.pva_direct import DirectClient
from detectors.sources.pva_p4p import P4pClient
from detectors.sources.pvspec import parse_pv_spec
from detectors.wire.ntndarray import ArrayHead

SLOTS = 8
WARM = 4


def slots(nbytes: int) -> list[memoryview]:
    found = []
    for _ in range(SLOTS):
        memory = mmap.mmap(-1, nbytes)
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
        memory[::4096] = b"\1" * len(memory[::4096])
        found.append(memoryview(memory))
    return found


class Meter:
    """Counts images from the first one after warming up to the last one wanted."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.seen = 0
        self.missed = 0
        self._last: int | None = None
        self.done = threading.Event()
        self.start: tuple[float, float] | None = None
        self.result: dict[str, float] = {}

    def image(self, unique_id: int, nbytes: int) -> None:
        if self._last is not None:
            self.missed += unique_id - self._last - 1
        self._last = unique_id
        self.seen += 1
        if self.start is None and self.seen >= WARM:
            self.start, self.seen, self.missed = now(), 0, 0
        elif self.start is not None and unique_id == self._count - 1:
            wall, cpu = (b - a for a, b in zip(self.start, now(), strict=True))
            gb = self.seen * nbytes / 1e9
            self.result = {
                "mb_per_s": gb * 1e3 / wall,
                "cpu_per_gb": cpu / gb,
                "missed": self.missed,
                "seen": self.seen,
            }
            self.done.set()


def now() -> tuple[float, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.monotonic(), used.ru_utime + used.ru_stime


class Sink:
    """Takes every image, and gives the next slot."""

    def __init__(self, meter: Meter, nbytes: int) -> None:
        self._meter, self._slots, self._next = meter, slots(nbytes), 0

    def connected(self, description: Description) -> None: ...

    def disconnected(self, reason: str) -> None:
        print(reason, file=sys.stderr)

    def slot(self, nbytes: int) -> memoryview:
        self._next = (self._next + 1) % SLOTS
        return self._slots[self._next][:nbytes]

    def update(self, update: ArrayHead) -> None:
        self._meter.image(update.unique_id or 0, update.nbytes)

    def last(self) -> memoryview | None: ...

    def abandon(self) -> None: ...

    def dropped(self, update: ArrayHead) -> None: ...

    def bad(self, reason: str) -> None:
        print(reason, file=sys.stderr)

    def empty(self) -> None: ...


def raw(meter: Meter, nbytes: int, count: int) -> None:
    memory = slots(nbytes)
    with socket.create_connection(("127.0.0.1", int(os.environ["EPICS_PVA_SERVER_PORT"]))) as sock:
        for number in range(count):
            slot, at = memory[number % SLOTS], 0
            while at < nbytes:
                at += sock.recv_into(slot[at:], 0, socket.MSG_WAITALL)
            meter.image(number, nbytes)


def main(client: str, pv: str, nbytes: int, count: int) -> None:
    meter = Meter(count)
    if client == "raw":
        raw(meter, nbytes, count)
    else:
        spec = parse_pv_spec(pv, "bench")
        served = DirectClient() if client == "direct" else P4pClient(tune=client == "p4p")
        source = ImageSource(spec, "drop", served)
        source.start(Sink(meter, nbytes))
        meter.done.wait(60)
        source.close()
    print(json.dumps(meter.result))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
