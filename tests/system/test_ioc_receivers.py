"""The soft-IOC with its own receivers: packets in, records and files out."""

from pathlib import Path

import pytest

from detectors.buffer.layout import relative_path
from tests.support.ioc_process import IocProcess, leftovers
from tests.support.ioc_setup import prefix_of, write_config
from tests.support.ports import free_ports
from tests.support.process import run

pytestmark = pytest.mark.usefixtures("runtime_dir")

FRAMES = 40


def without_camera(config: Path) -> Path:
    config.write_text(config.read_text().split("[[pva]]")[0])
    return config


def send(port: int, module: int, first: int) -> None:
    """One module's frames, numbered from ``first``."""
    numbers = ["--first-frame", str(first), "--start", str(first), "--module-id", str(module)]
    pace = ["--rate", "50", "--frames", str(FRAMES)]
    done = run("sim", "udp", f"127.0.0.1:{port}", *pace, *numbers)
    assert done.returncode == 0, done.stderr


def test_two_modules_are_received_shown_and_switched(tmp_path: Path) -> None:
    first, second = free_ports(2)
    config = without_camera(write_config(tmp_path, ports=(first, second)))
    with IocProcess(prefix_of(config), "-m", "ioc", "run", str(config)) as ioc:
        for name in ("M00", "M01"):
            ioc.until(f"{name}:State_RBV", "Idle")
        send(first, 0, 1)
        send(second, 1, 1)
        for name in ("M00", "M01"):
            ioc.until(f"{name}:Disk:Written_RBV", FRAMES)
            ioc.until(f"{name}:FramesComplete_RBV", FRAMES)
            ioc.until(f"{name}:PacketsReceived_RBV", FRAMES * 128)
            ioc.until(f"{name}:PulseId_RBV", FRAMES)
            assert ioc.value(f"{name}:PacketsLost_RBV") == 0
            assert (tmp_path / "data" / "DET" / name / relative_path(1)).stat().st_size > FRAMES * 2**20
        ioc.put("M00:Disk:On", 0)
        send(first, 0, FRAMES + 1)
        ioc.until("M00:Disk:Discarded_RBV", FRAMES)
        assert ioc.value("M00:Disk:Written_RBV") == FRAMES
        ioc.put("Acquire", 0)
        ioc.until("M01:RunState_RBV", "Configured")
        send(second, 1, FRAMES + 1)
        ioc.until("M01:PacketsDisabled_RBV", FRAMES * 128)
        assert ioc.value("M01:FramesComplete_RBV") == FRAMES
        assert ioc.stop() == 0
        assert leftovers(ioc.prefix) == []
