"""``pebbledaq monitor`` with several PVs, with timing, and with sources that are no areaDetector."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectors.buffer.reader import BufferReader
from detectors.frame import Damage
from detectors.run_state import Service
from sim.console import Console
from sim.pattern import frame_pattern
from tests.support.images import image
from tests.support.monitor_process import EPOCH_NS, MonitorProcess, TimingLine, settled
from tests.support.ports import free_ports

MS = 1_000_000


@pytest.fixture
def start(start_monitor: Callable[..., MonitorProcess]) -> Callable[..., MonitorProcess]:
    return start_monitor


def camera(pv: str, **first: Any) -> Console:
    return Console("tests.support.p4p_server", pv, "ntndarray", json.dumps({"unique_id": 0, **first}))


def post(server: Console, n: int, nanoseconds: int | None = None, **what: Any) -> None:
    """Post image n, stamped so many nanoseconds, n if not given, after the epoch of the timing."""
    seconds, rest = divmod(EPOCH_NS + (n if nanoseconds is None else nanoseconds), 10**9)
    server.ask("post", unique_id=n, stamp=[seconds, rest], **what)


# --- several PVs


SHAPES: tuple[dict[str, Any], ...] = ({"dtype": "uint16", "shape": [3, 4]}, {"dtype": "float64", "shape": [5]})


@pytest.mark.long
def test_two_servers_one_event_in_either_order_late_and_dead(
    start: Callable[..., MonitorProcess], tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    first, second = SHAPES
    with camera("T:A", **first) as a, TimingLine(port) as timing:
        b = camera("T:B", **second)
        monitor = start(["a=T:A", "b=T:B"], "match_tmo_ms = 400", top=f"[timing]\nport = {port}")
        monitor.enabled()

        def event(n: int) -> None:
            timing.tell(Service.L1_ACCEPT, 100 + n, n)

        def seen(pv: int, n: int) -> None:
            monitor.until(lambda s: s["pvs"][str(pv)]["unique_id"] == n)

        def placed(count: int) -> dict[str, Any]:
            return monitor.until(lambda s: s["updates"]["placed"] == count)

        for pv, server in ((0, a), (1, b)):  # both before the event
            post(server, 10, **SHAPES[pv])
            seen(pv, 10)
        event(10)
        placed(1)
        event(20)  # the event before both, the second PV first
        monitor.until(lambda s: s["updates"]["l1_pending"] == 1)
        post(b, 20, **second)
        seen(1, 20)
        post(a, 20, **first)
        status = placed(2)
        assert (status["updates"]["partial"], status["pvs"]["1"]["time_diff_ns"]) == (0, 0)

        event(30)  # one comes too late
        post(a, 30, **first)
        placed(3)
        post(b, 30, **second)
        status = monitor.until(lambda s: s["updates"]["too_old"] + s["updates"]["expired"] == 1)
        assert (status["updates"]["partial"], status["state"]) == (1, "Receiving")

        b.kill()
        monitor.until(lambda s: not s["pvs"]["1"]["connected"])
        event(40)
        post(a, 40, **first)
        status = placed(4)
        assert (status["updates"]["partial"], status["state"], status["connected"]) == (2, "Connecting", False)
        assert status["pvs"]["0"]["connected"]
        assert "T:B" in status["pvs"]["1"]["message"]

        with camera("T:B", **second) as again:
            monitor.until(lambda s: s["connected"])
            event(50)
            post(a, 50, **first)
            post(again, 50, **second)
            placed(5)
            status = monitor.until(lambda s: s["disk"]["written"] == 5 and not s["updates"]["held"])
        settled(status)
        assert (status["updates"]["reconnects"], status["updates"]["partial"]) == (1, 2)
        assert monitor.end() == 0, monitor.text

    reader = BufferReader(tmp_path / "data" / "DET-CAM")
    for n, both in ((10, True), (20, True), (30, False), (40, False), (50, True)):
        frame = reader.read_frame(100 + n)
        np.testing.assert_array_equal(frame.field("a"), image("uint16", (3, 4), n))
        np.testing.assert_array_equal(frame.field("b"), image("float64", (5,), n) if both else np.zeros(5))
        assert frame.head.n_recv_packets == 1 + both
        entry = reader.sidecar(100 + n)
        assert entry is not None
        assert bool(entry["damage"] & Damage.TIMED_OUT) is not both
        assert entry["missing"].tobytes()[0] == (0 if both else 0b10)


# --- timing


@pytest.mark.long
@pytest.mark.parametrize(("mode", "expected"), [("exact", {1}), ("fuzzy", {1, 2}), ("none", {1, 2, 3})])
def test_how_near_a_time_stamp_must_be(
    start: Callable[..., MonitorProcess], tmp_path: Path, mode: str, expected: set[int]
) -> None:
    (port,) = free_ports(1)
    with camera("T:CAM") as cam, TimingLine(port) as timing:
        monitor = start("T:CAM", f'match = "{mode}"\nmatch_tmo_ms = 300', top=f"[timing]\nport = {port}")
        monitor.enabled()
        for n, away_ns in ((1, 0), (2, 5 * MS), (3, 50 * MS)):
            timing.tell(Service.L1_ACCEPT, n, n * 10**9)
            post(cam, n, n * 10**9 + away_ns)
            monitor.until(
                lambda s, n=n: s["unique_id"] == s["updates"]["l1_accepts"] == n and not s["updates"]["l1_pending"]
            )
        status = monitor.until(
            lambda s: s["disk"]["written"] == len(expected) and not s["updates"]["held"],
        )
        settled(status)
        updates = status["updates"]
        assert updates["match"] == len(expected)
        assert updates["empty"] == 3 - len(expected)
        assert updates["expired"] + updates["too_old"] == 3 - len(expected)
        assert monitor.end() == 0, monitor.text
    reader = BufferReader(tmp_path / "data" / "DET-CAM")
    assert set(reader.pulses(0, 10).tolist()) == expected
    for n in expected:
        np.testing.assert_array_equal(reader.read_frame(n).data, image("uint16", (3, 4), n))


# --- other sources


@contextmanager
def ca_camera(*options: str) -> Iterator[None]:
    words = [sys.executable, "-m", "ioc", "sim", "ca", "SIM1:", *options]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("READY")
            yield
        finally:
            process.send_signal(signal.SIGTERM)


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["int32", "uint16"])
def test_a_camera_on_channel_access_is_bit_exact_on_disk(
    start: Callable[..., MonitorProcess], tmp_path: Path, dtype: str
) -> None:
    period_ns = 50 * MS
    epoch_ns = time.time_ns() // period_ns * period_ns
    wire = "int32"  # what Channel Access has for uint16
    with ca_camera("--rate", "20", "--epoch-ns", str(epoch_ns), "--shape", "20x30", "--dtype", dtype):
        monitor = start(
            f"ca/SIM1:image1:ArrayData[20,30]({wire})",
            f'pulse_from = "timestamp"\npulse_period_ns = {period_ns}',
        )
        status = monitor.until(lambda s: s["disk"]["written"] >= 8, 20)
        assert (status["client"], status["shape"], status["dtype"]) == ("ca", "20 x 30", wire)
        assert monitor.end() == 0, monitor.text
    reader = BufferReader(tmp_path / "data" / "DET-CAM")
    extent = reader.extent()
    assert extent is not None
    pulses = reader.pulses(*extent)
    assert len(pulses) >= 8
    for pulse in pulses.tolist():
        n = pulse - epoch_ns // period_ns
        np.testing.assert_array_equal(reader.read_frame(pulse).data, frame_pattern(1 + n, 0, (20, 30), dtype))


@pytest.mark.long
@pytest.mark.parametrize(
    ("spec", "client", "used"),
    [("T:IOC:WAVE", "auto", "p4p"), ("T:IOC:WAVE", "direct", "direct"), ("ca/T:IOC:WAVE", "auto", "ca")],
)
def test_the_waveform_of_a_soft_ioc(
    start: Callable[..., MonitorProcess], tmp_path: Path, spec: str, client: str, used: str
) -> None:
    with Console("tests.support.softioc_server", "T:IOC", "600") as ioc:
        monitor = start(f"{spec},20", f'client = "{client}"')
        monitor.enabled()
        for n in range(1, 6):
            ioc.ask("post", seed=n)
            monitor.until(lambda s, n=n: s["updates"]["match"] == n)
        status = monitor.until(lambda s: s["disk"]["written"] == 5)
        settled(status)
        assert (status["client"], status["shape"], status["dtype"]) == (used, "20 x 30", "int32")
        assert monitor.end() == 0, monitor.text
    reader = BufferReader(tmp_path / "data" / "DET-CAM")
    for n in range(1, 6):
        np.testing.assert_array_equal(reader.read_frame(n).data, image("int32", (20, 30), n))


# --- a full pool holds the source back


def test_a_source_that_is_held_back_loses_on_its_side_and_that_is_seen(
    start: Callable[..., MonitorProcess], tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    shape, images = [480, 1000], 200

    def resident_mib() -> float:
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{monitor.process.pid}/status").read_text())
        assert found
        return int(found[1]) / 1024

    with camera("T:CAM", shape=shape) as cam, TimingLine(port) as timing:
        monitor = start(
            "T:CAM",
            'when_full = "hold"\nmatch = "none"\nmatch_tmo_ms = 600000\nclient = "direct"',
            top=f"[timing]\nport = {port}",
        )
        monitor.enabled()
        before = resident_mib()
        cam.ask("burst", start=1, count=images, shape=shape)  # no event wants any of them
        status = monitor.until(lambda s: s["updates"]["held"] == 16)
        assert (status["transition"]["count"], status["transition"]["in_use"]) == (16, 16)
        assert status["updates"]["exhausted"] == 0
        assert resident_mib() < before + 20  # of the 183 MiB that were sent
        n = 0
        while (status := monitor.status())["unique_id"] < images or status["updates"]["held"]:
            n += 1
            assert n < images
            timing.tell(Service.L1_ACCEPT, n, n)
            monitor.until(lambda s, n=n: s["updates"]["placed"] == n)
        status = monitor.until(lambda s, n=n: s["disk"]["written"] == n)
        settled(status)
        updates = status["updates"]
        assert updates["exhausted"] == updates["decode_errors"] == 0
        assert updates["missed"] + updates["match"] == images
        assert updates["missed"] > images // 2
        assert resident_mib() < before + 20
        assert monitor.end() == 0, monitor.text
    reader = BufferReader(tmp_path / "data" / "DET-CAM")
    found = [reader.read_frame(pulse) for pulse in range(1, n + 1)]
    for frame in found:
        np.testing.assert_array_equal(frame.data, image("uint16", tuple(shape), frame.head.frame_index))
    assert [f.head.frame_index for f in found[:16]] == list(range(1, 17))
