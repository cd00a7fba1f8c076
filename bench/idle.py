"""Workers that wait: the processor time that each takes a second while its source sends nothing.

A receiver without packets, a monitor of a connected camera that is still, and a stream without frames, all at once. Each figure is the
median of five parts of one run, of two seconds each.
"""

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack

from bench.processor import cores
from bench.table import Row, spread
from bench.worker_process import WorkerProcess
from ioc.demo.children import Child, clean_environment, epics_environment, free_ports

PARTS, PART_S = 5, 2.0
SETTLE_S = 2.0
START_S = 30
TARGET_MS = 2
CAMERA = "IDLE:CAM"


def rows(*, quick: bool) -> Iterator[Row]:
    """Yield the processor time of each worker."""
    ca, repeater, pva, search, camera, port, other = free_ports(7)
    environment = clean_environment() | epics_environment(ca, repeater, pva, search, camera)
    module = f'[[udp]]\nname = "M00"\nport = {port}\naddress = "127.0.0.1"\n'
    stream = f'[stream]\nreduced = "tcp://127.0.0.1:{other}"\n'
    with ExitStack() as stack:
        words = ["--shape", "256x256", "--frames", "1", "--linger", "120", "--initial-image"]
        place = ["--interface", "127.0.0.1", "--broadcast-port", str(camera)]
        source = Child("CAM", ["sim", "pva", CAMERA, *words, *place], environment)
        stack.callback(source.end)
        source.wait_ready(time.monotonic() + START_S)
        receiver = stack.enter_context(WorkerProcess("receive", "udp.M00", module))
        table = f'[[pva]]\nname = "CAM"\npv = "{CAMERA}"\n'
        monitor = stack.enter_context(WorkerProcess("monitor", "pva.CAM", table, environment))
        assembler = stack.enter_context(WorkerProcess("stream", "stream", module + stream))
        _wait_for_images(monitor)
        time.sleep(SETTLE_S)
        workers = {"receiver": receiver, "monitor": monitor, "stream": assembler}
        found = cores((worker.process.pid for worker in workers.values()), 1 if quick else PARTS, PART_S)
        for name, taken in zip(workers, found, strict=True):
            ms = [1000 * share for share in taken]
            yield Row(f"an idle {name}", statistics.median(ms), "ms/s", TARGET_MS, note=spread(ms))


def _wait_for_images(monitor: WorkerProcess) -> None:
    """Wait until the camera is connected and its only images have come."""
    end_s = time.monotonic() + START_S
    while not (status := monitor.status)["connected"] or status["updates"]["updates"] < 1:
        assert time.monotonic() < end_s, f"the camera is not seen: {status['message']}"
        time.sleep(0.1)
