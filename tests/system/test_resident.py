"""The resident memory of a running monitor is what `pebbledaq sizes` said."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from detectors.config import load_config
from detectors.pools.available import mem_available
from detectors.pools.sizing import size_text
from ioc.plan import plan_source_by_source
from sim.console import Console
from tests.support.ports import free_ports
from tests.support.process import WorkerProcess, run

PREFIX, PV = "T:RESIDENT:", "T:RESIDENT:CAM"
MIB = 1 << 20

pytestmark = pytest.mark.long


@pytest.fixture
def camera(short_runtime_dir: Path, own_epics: dict[str, str]) -> Iterator[Console]:
    with Console(
        "tests.support.p4p_server", PV, "ntndarray", json.dumps({"unique_id": 0, "shape": [2048, 4096]})
    ) as child:
        yield child


def resident_bytes(pid: int, kind: str) -> int:
    found = re.search(rf"Rss{kind}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) << 10


SMALL, LARGE = [2, 4], [2048, 4096]
SLACK_BYTES = 6 * MIB
"""What the heap of one process may differ from that of another."""


class Monitor:
    """A monitor of images of one shape, and what it holds."""

    def __init__(self, folder: Path, shape: list[int], rx_count: int, timing: bool) -> None:
        self._shape, self._rx_count, self._timing = shape, rx_count, timing
        self.config = folder / f"{shape[0]}.toml"
        self.config.write_text(
            f'[detector]\nname = "D"\nprefix = "{PREFIX}"\n'
            f'[dma]\ncfgRxCount = {rx_count}\ncfgSize = "2 MiB"\n'
            + (f"[timing]\nport = {free_ports(1)[0]}\n" if timing else "")
            + f'[[pva]]\nname = "CAM"\npv = "{PV}"\ndtype = "uint16"\nshape = {shape}\n'
        )
        self.plan = plan_source_by_source(load_config(self.config))["CAM"]

    def run(self, camera: Console) -> tuple[int, int]:
        """Let it take more images than there are slots; return what is resident then, of its own and shared, bytes."""
        camera.ask("post", unique_id=0, shape=self._shape)
        with WorkerProcess(PREFIX, "pva.CAM", "monitor", str(self.config)) as monitor:
            monitor.ready()
            monitor.until(lambda s: s["run_state"] == "Enabled")
            for n in range(1, self._rx_count + 4):
                camera.ask("post", unique_id=n, shape=self._shape)
                monitor.until(lambda s, n=n: s["updates"]["updates"] > n)
            found = resident_bytes(monitor.pid, "Anon"), resident_bytes(monitor.pid, "Shmem")
            assert monitor.end() == 0
        return found


@pytest.mark.parametrize(("rx_count", "timing"), [(15, True), (31, False)])
def test_it_is_what_sizes_said(camera: Console, tmp_path: Path, rx_count: int, timing: bool) -> None:
    if mem_available() < 4 << 30:
        pytest.skip("needs 4 GiB of memory")
    small, large = (Monitor(tmp_path, shape, rx_count, timing) for shape in (SMALL, LARGE))
    plan = large.plan
    told = run("sizes", str(large.config)).stdout
    assert f"of the process itself: CAM {size_text(plan.resident_bytes)}." in " ".join(told.split())
    own, shared = large.run(camera)
    base, _ = small.run(camera)
    assert shared == plan.pebble.memory_bytes
    # One transition slot may never have been in use: the images come one by one.
    assert -plan.transition.size_bytes - SLACK_BYTES <= own - base - plan.transition.memory_bytes <= SLACK_BYTES
