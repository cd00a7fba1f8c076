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
from tests.support.child import Child
from tests.support.epics_env import isolate
from tests.support.ports import free_ports
from tests.support.process import WorkerProcess, run

PREFIX, PV = "T:RESIDENT:", "T:RESIDENT:CAM"
MIB = 1 << 20

pytestmark = pytest.mark.long


@pytest.fixture
def camera(short_runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Child]:
    isolate(monkeypatch)
    with Child(
        "tests.support.p4p_server", PV, "ntndarray", json.dumps({"unique_id": 0, "shape": [2048, 4096]})
    ) as child:
        yield child


def resident_bytes(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) << 10


@pytest.mark.parametrize(("rx_count", "timing"), [(15, True), (31, False)])
def test_it_is_what_sizes_said(camera: Child, tmp_path: Path, rx_count: int, timing: bool) -> None:
    if mem_available() < 4 << 30:
        pytest.skip("needs 4 GiB of memory")
    config = tmp_path / "config.toml"
    config.write_text(
        f'[detector]\nname = "D"\nprefix = "{PREFIX}"\n'
        f'[dma]\ncfgRxCount = {rx_count}\ncfgSize = "2 MiB"\n'
        + (f"[timing]\nport = {free_ports(1)[0]}\n" if timing else "")
        + f'[[pva]]\nname = "CAM"\npv = "{PV}"\ndtype = "uint16"\nshape = [2048, 4096]\n'
    )
    said = plan_source_by_source(load_config(config))["CAM"].resident_bytes
    told = run("sizes", str(config)).stdout
    assert f"of the process itself: CAM {size_text(said)}." in " ".join(told.split())
    with WorkerProcess(PREFIX, "pva.CAM", "monitor", str(config)) as monitor:
        monitor.ready()
        monitor.until(lambda s: s["run_state"] == "Enabled")
        for n in range(1, rx_count + 4):  # more than there are slots: all are used once
            camera.ask("post", unique_id=n, shape=[2048, 4096])
            monitor.until(lambda s, n=n: s["updates"]["updates"] >= n)
        assert resident_bytes(monitor.pid) == pytest.approx(said, rel=0.03)
        assert monitor.status()["updates"]["exhausted"] <= (n - rx_count if timing else 0)
        assert monitor.end() == 0
