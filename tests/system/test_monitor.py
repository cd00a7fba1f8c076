"""``pebbledaq monitor`` as a process, against a PVA server in another one."""

import json
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectors.buffer.reader import BufferReader
from detectors.errors import CommandError
from detectors.run_state import Service
from sim.console import Console
from tests.support.images import image
from tests.support.monitor_process import MonitorProcess, TimingLine, settled
from tests.support.ports import free_ports, taken_udp_port
from tests.support.scheduling import realtime_allowed, realtime_threads

PV = "T:CAM"
SERVER = "tests.support.p4p_server"


@pytest.fixture
def start(start_monitor: Callable[..., MonitorProcess]) -> Callable[..., MonitorProcess]:
    return partial(start_monitor, PV)


def camera(**first: Any) -> Console:
    return Console(SERVER, PV, "ntndarray", json.dumps(first) if first else "null")


def check(tmp_path: Path, pulses: dict[int, np.ndarray], folder: str = "DET-CAM") -> None:
    reader = BufferReader(tmp_path / "data" / folder)
    for pulse_id, pixels in pulses.items():
        frame = reader.read_frame(pulse_id)
        np.testing.assert_array_equal(frame.data, pixels)
        assert frame.pulse_id == pulse_id


def test_a_camera_runs_free_to_disk(start: Callable[..., MonitorProcess], tmp_path: Path) -> None:
    with camera(unique_id=1) as cam:
        worker = start()
        worker.until(lambda s: s["run_state"] == "Enabled")
        for n in range(2, 12):
            cam.ask("post", unique_id=n)
            worker.until(lambda s, n=n: s["unique_id"] == n)
        status = worker.until(lambda s: s["disk"]["written"] == 10)
        settled(status)
        receiving = realtime_threads(worker.process.pid)
        assert worker.process.pid not in receiving
        assert bool(receiving) == realtime_allowed()
        assert (status["updates"]["missed"], status["pulse_id"], status["state"]) == (0, 11, "Receiving")
        assert worker.end() == 0, worker.text
    assert "Traceback" not in worker.text
    check(tmp_path, {n: image("uint16", (3, 4), n) for n in range(2, 12)})


@pytest.mark.long
def test_a_camera_that_comes_late_and_goes_and_returns_with_another_shape(
    start: Callable[..., MonitorProcess], tmp_path: Path
) -> None:
    worker = start("connect_timeout_s = 0.2")
    assert worker.until(lambda s: s["pid"])["state"] == "Connecting"
    with pytest.raises(CommandError, match=r"has not connected within 0\.2 s"):
        worker.ask("transition", service="Configure")
    cam = camera(unique_id=1)
    worker.until(lambda s: s["run_state"] == "Enabled")
    cam.ask("post", unique_id=2)
    worker.until(lambda s: s["disk"]["written"] == 1)
    cam.kill()
    worker.until(lambda s: s["state"] == "Connecting")
    cam = camera(unique_id=1, dtype="float32", shape=[5, 7])
    status = worker.until(lambda s: s["updates"]["replans"] == 1, 30)
    assert (status["shape"], status["dtype"], status["payload_bytes"]) == ("5 x 7", "float32", 140)
    cam.ask("post", unique_id=2, dtype="float32", shape=[5, 7])
    status = worker.until(lambda s: s["disk"]["written"] >= 2 and s["unique_id"] == 2)
    settled(status)
    assert status["updates"]["reconnects"] == 1
    pulse = worker.until(lambda s: s["disk"]["queued"] == 0)["pulse_id"]
    assert worker.end(signal.SIGINT) == 0, worker.text
    cam.close()
    check(tmp_path, {2: image("uint16", (3, 4), 2)})
    check(tmp_path, {pulse: image("float32", (5, 7), 2)}, "DET-CAM-float32-5x7")


def test_timing_drives_the_run_and_meets_the_images(start: Callable[..., MonitorProcess], tmp_path: Path) -> None:
    port = free_ports(1)[0]
    with camera(unique_id=0) as cam, TimingLine(port) as line:
        tell = line.tell
        worker = start("", "--state", "unconfigured", top=f"[timing]\nport = {port}")
        for service in (Service.CONFIGURE, Service.BEGIN_RUN, Service.ENABLE):
            tell(service)
        worker.until(lambda s: s["run_state"] == "Enabled")
        for n in range(1, 6):
            tell(Service.L1_ACCEPT, 1000 + n, n)
        for n in (1, 2, 4, 5):
            cam.ask("post", unique_id=n, stamp=[1_700_000_000, n])
            worker.until(lambda s, n=n: s["unique_id"] == n)
        status = worker.until(lambda s: s["disk"]["written"] == 4)
        settled(status)
        updates = status["updates"]
        assert (updates["l1_accepts"], updates["match"], updates["empty"], updates["missed"]) == (5, 4, 1, 1)
        assert status["time_diff_ns"] == 0
        tell(Service.CONFIGURE)
        status = worker.until(lambda s: s["updates"]["transitions_refused"])
        assert "Configure refused: the run is Enabled" in status["message"]
        for service in (Service.DISABLE, Service.END_RUN, Service.UNCONFIGURE):
            tell(service)
        worker.until(lambda s: s["run_state"] == "Unconfigured")
        assert worker.end() == 0, worker.text
    check(tmp_path, {1000 + n: image("uint16", (3, 4), n) for n in (1, 2, 4, 5)})


def test_a_burst_of_events_fills_pebble_and_ring_before_one_is_lost(start: Callable[..., MonitorProcess]) -> None:
    port = free_ports(1)[0]
    with camera(unique_id=0), TimingLine(port) as line:
        worker = start("match_tmo_ms = 60_000", top=f"[timing]\nport = {port}")
        worker.enabled()
        for n in range(1, 17):  # the pebble holds 16
            line.tell(Service.L1_ACCEPT, 1000 + n, n)
            worker.until(lambda s, n=n: s["updates"]["l1_pending"] == n)
        for n in range(17, 32):  # the ring holds 15 more
            line.tell(Service.L1_ACCEPT, 1000 + n, n)
        status = worker.until(lambda s: s["updates"]["l1_pending"] == 16 and s["dma"]["in_use"] == 15)
        assert (status["dma"]["overruns"], status["updates"]["l1_missed"]) == (0, 0)
        line.tell(Service.L1_ACCEPT, 1032, 32)
        worker.until(lambda s: s["dma"]["overruns"] == 1)
        assert worker.end() == 0, worker.log


def test_commands_drive_the_run(start: Callable[..., MonitorProcess]) -> None:
    with camera(unique_id=1) as cam:
        worker = start("", "--state", "unconfigured")
        for service, state in (("Configure", "Configured"), ("BeginRun", "Running"), ("Enable", "Enabled")):
            assert worker.ask("transition", service=service) == state
        worker.ask("output", output="disk", enabled=False)
        cam.ask("post", unique_id=2)
        status = worker.until(lambda s: s["updates"]["match"] == 1)
        assert status["disk"]["disabled"] == 1
        with pytest.raises(CommandError, match="BeginRun refused: the run is Enabled; legal now: Disable"):
            worker.ask("transition", service="BeginRun")
        worker.ask("stop")
        assert worker.wait() == 0


@pytest.mark.long
@pytest.mark.parametrize(
    ("source", "top", "code", "said"),
    [
        ("dtype = 'uint16'\nshape = [1000, 1000]", "", 2, "the DMA engine would overrun"),
        ("", "[pools]\npebbleBufCount = 8", 2, "expected more than cfgRxCount = 15"),
        ("dtype = 'uint8'\nshape = [3]", "[pools]\npebbleBufSize = '800 GiB'", 1, "the buffers need|the pebble needs"),
        ("", "[timing]\nport = {taken}", 1, "cannot listen on UDP 127.0.0.1"),
    ],
)
def test_what_is_known_to_be_wrong_ends_in_one_line(
    start: Callable[..., MonitorProcess], source: str, top: str, code: int, said: str
) -> None:
    with taken_udp_port() as port:
        worker = start(source, top=top.replace("{taken}", str(port)), wait=False)
        assert worker.wait() == code
    worker.end()
    lines = worker.text.strip().splitlines()
    assert [line for line in lines if line.startswith("pebbledaq: ")], worker.text
    assert any(word in worker.text for word in said.split("|")), worker.text
    assert "Traceback" not in worker.text


def test_a_folder_that_cannot_be_written_ends_in_one_line(
    start: Callable[..., MonitorProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").write_text("a file")
    worker = start(wait=False)
    assert worker.wait() == 1
    worker.end()
    assert f"{tmp_path}/data: cannot be made: File exists" in worker.text


@pytest.mark.long
def test_killed_it_leaves_nothing_that_the_next_one_minds(start: Callable[..., MonitorProcess], tmp_path: Path) -> None:
    with camera(unique_id=1) as cam:
        worker = start()
        worker.until(lambda s: s["run_state"] == "Enabled")
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.wait()
        again = start()
        again.until(lambda s: s["run_state"] == "Enabled")
        cam.ask("post", unique_id=7)
        again.until(lambda s: s["disk"]["written"] == 1)
        assert again.end() == 0
    check(tmp_path, {7: image("uint16", (3, 4), 7)})
