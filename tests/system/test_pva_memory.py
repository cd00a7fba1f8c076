"""An image's way from the socket to the pebble and to disk takes no memory that was not there before."""

import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from detectors.config import parse_config
from detectors.run_state import RunState
from detectors.sources.image_source import ImageSource, open_source
from detectors.sources.pvspec import PvSpec
from detectors.workers.account import Account
from detectors.workers.monitor.worker import MonitorWorker
from detectors.workers.wake import Wake
from sim.pva_encode import ntndarray
from sim.pva_server import MONITOR, SimulatedPvaServer

PV = "T:CAM"
SHAPE = (512, 1024)
NBYTES = 2 * 512 * 1024
WARM, IMAGES = 12, 24
LIMIT = NBYTES // 4
"""What the fields of an image, its leases and its statuses may take for a while, bytes; a copy of it would be 4 times that."""


@pytest.fixture
def worker(tmp_path: Path, short_runtime_dir: Path, own_epics: dict[str, str]) -> Iterator[MonitorWorker]:
    """A monitor with the direct client, in this process: the test is its event thread."""
    config = parse_config(
        f"""
        [detector]
        name = "DET"
        prefix = "T:MEMORY:"
        [dma]
        cfgRxCount = 3
        cfgSize = "1 MiB"
        [[pva]]
        name = "CAM"
        pv = "{PV}"
        client = "direct"
        [disk]
        folder = "{tmp_path}"
        min_free = 1
        """
    )
    source = config.pva[0]

    def direct(spec: PvSpec) -> ImageSource:
        return open_source(spec, client="direct", direct_above=0, when_full=source.when_full)

    worker = MonitorWorker(config, source, direct, aim=RunState.ENABLED)
    config.runtime_names.make_folder()  # as run_part does, which is not running here
    with ExitStack() as stack:
        wake = Wake()
        stack.callback(wake.close)
        worker.open(stack, wake, Account(config.runtime_names.counters(worker.name), worker.empty, worker.blocks))
        yield worker


def step_until(worker: MonitorWorker, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, worker.snapshot()
        worker.step()
        time.sleep(0.001)


def test_no_image_takes_memory_of_its_own(worker: MonitorWorker) -> None:
    pixels = np.arange(NBYTES // 2, dtype=np.uint16).reshape(SHAPE)
    with SimulatedPvaServer(PV) as server:
        step_until(worker, lambda: server.subscriptions)
        (client,) = server.clients()
        bodies = [
            server.encoder.pack("I", client.request_id) + server.body(ntndarray(pixels, n))
            for n in range(WARM + IMAGES)
        ]
        messages = [server.framed(MONITOR, body) for body in bodies]
        client.sock.sendall(messages[0])  # tells what there must be memory for
        step_until(worker, lambda: worker.machine.state is RunState.ENABLED)

        def take(numbers: range) -> None:
            for n in numbers:
                client.sock.sendall(messages[n])
                step_until(worker, lambda n=n: worker.snapshot().disk.written == n)

        take(range(1, WARM))
        tracemalloc.start()
        try:
            take(range(WARM, WARM + IMAGES))
            kept, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        status = worker.snapshot()
    assert (status.updates.match, status.updates.missed, status.updates.exhausted) == (WARM + IMAGES - 1, 0, 0)
    assert peak < LIMIT
    assert kept < LIMIT
