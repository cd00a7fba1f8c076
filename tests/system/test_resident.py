"""The resident memory of a running monitor is what `pebbledaq sizes` said."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from detectors.config import load_config
from detectors.pools.available import mem_available
from detectors.pools.sizing import size_text
from detectors.runtime import Runtime
from detectors.workers.control import request
from ioc.plan import plan_source_by_source
from tests.support.child import Child
from tests.support.epics_env import free_ports, isolate
from tests.support.waiting import until

PREFIX, PV = "T:RESIDENT:", "T:RESIDENT:CAM"
MIB = 1 << 20


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
    words = [sys.executable, "-m", "ioc"]
    said = plan_source_by_source(load_config(config))["CAM"].resident_bytes
    told = subprocess.run([*words, "sizes", str(config)], capture_output=True, text=True, check=True).stdout
    assert f"of the process itself: CAM {size_text(said)}." in " ".join(told.split())
    with subprocess.Popen([*words, "monitor", str(config)], stdout=subprocess.PIPE, text=True) as monitor:
        try:
            assert monitor.stdout is not None
            assert monitor.stdout.readline().startswith("READY")

            def status() -> dict[str, int]:
                return request(Runtime(PREFIX).command("pva.CAM"), "status", 5.0)["updates"]

            until(lambda: request(Runtime(PREFIX).command("pva.CAM"), "status", 5.0)["run_state"], "Enabled".__eq__)
            for n in range(1, rx_count + 4):  # more than there are slots: all are used once
                camera.ask("post", unique_id=n, shape=[2048, 4096])
                until(lambda n=n: status()["updates"], lambda updates, n=n: updates >= n)
            assert resident_bytes(monitor.pid) == pytest.approx(said, rel=0.03)
            assert status()["exhausted"] <= (n - rx_count if timing else 0)
        finally:
            monitor.terminate()
