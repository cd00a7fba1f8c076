"""One receiver as a process of its own: packets in, records, streams and counters out, nothing left behind."""

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from detectors.buffer.layout import relative_path
from detectors.buffer.reader import BufferReader
from detectors.errors import CommandError
from detectors.frame import MODULE_FRAME, FrameHead
from detectors.geometry import GEOMETRIES, ModuleGeometry
from detectors.live_streams import ModuleStream
from detectors.runtime_names import RuntimeNames
from detectors.stats import ReceiverStatus
from detectors.wire.module_packets import ModulePackets
from sim.clock import Schedule
from sim.faults import FaultRates
from sim.pattern import frame_pattern, missing_flags, stored_pattern
from sim.udp_module import UdpModuleSender
from tests.support.balance import imbalance
from tests.support.ports import free_ports
from tests.support.process import WorkerProcess
from tests.support.scheduling import realtime_allowed, realtime_threads
from tests.support.senders import PATIENT
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("runtime_dir")

ROOT = Path(__file__).parents[2]
GEOMETRY = ModuleGeometry("custom", "jungfrau", 64, 128, "uint16", 32)
STOCK_TABLE = '{header = "sls", rows = 64, cols = 128, dtype = "uint16", packets_per_frame = 32}'
STOCK = ModuleGeometry("stock", "sls", 64, 128, "uint16", 32)
MODULE = 3
WORKER = "udp.M00"
STEP = 2
FIRST_PULSE = 12_345_990


def write_config(folder: Path, *, port: int, extra: str = "", geometry: str = "") -> Path:
    text = f"""
[detector]
name = "JFT"
prefix = "T{os.getpid()}:{port}:"
pulse_id_step = {STEP}
[dma]
cfgRxCount = 16
cfgSize = "1 MiB"
[[udp]]
name = "M00"
{PATIENT}expect_module_id = {MODULE}
port = {port}
address = "127.0.0.1"
geometry = {geometry or '{header = "jungfrau", rows = 64, cols = 128, dtype = "uint16", packets_per_frame = 32}'}
{extra}
[disk]
folder = "{folder}/data"
roots = ["{folder}"]
min_free = "1 MiB"
"""
    path = folder / "config.toml"
    path.write_text(text)
    return path


class Receiver(WorkerProcess):
    def __init__(self, config: Path, port: int, *options: str, environment: Mapping[str, str] | None = None) -> None:
        self.port = port
        self.folder = config.parent / "data" / "JFT" / "M00"
        words = ("receive", str(config), "M00", *options)
        super().__init__(f"T{os.getpid()}:{port}:", WORKER, *words, environment=environment)

    def settled(self, received: int, **frames: int) -> dict[str, Any]:
        """Return the snapshot in which so many packets have come and every frame is settled."""

        def look() -> dict[str, Any] | None:
            s = self.status()
            done = s["packets"]["received"] == received and not s["disk"]["queued"] and not s["zmq"]["queued"]
            wanted = {name: s["frames"][name] for name in frames} == frames
            return s if done and wanted and not imbalance(ReceiverStatus, s) else None

        try:
            return until(look)
        except AssertionError:
            raise AssertionError(f"expected {received} packets, {frames}; found {self.status()}") from None

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        return self.end(number), self.text


@contextmanager
def receiver(folder: Path, *options: str, extra: str = "", geometry: str = "") -> Iterator[Receiver]:
    (port,) = free_ports(1)
    with Receiver(write_config(folder, port=port, extra=extra, geometry=geometry), port, *options) as r:
        r.wait_for(rf"^READY {re.escape(WORKER)} 127\.0\.0\.1:{port}$")
        yield r


def send(port: int, frames: int, *, first: int = 1, geometry: ModuleGeometry = GEOMETRY, **faults: float) -> Any:
    """Send frames, a few at a time: a test's buffer is no detector's."""
    schedule = Schedule.at_rate(0, first_pulse=FIRST_PULSE, pulse_step=STEP)
    sender = UdpModuleSender(
        ("127.0.0.1", port),
        geometry,
        schedule,
        module_id=MODULE,
        first_frame=1,
        daq_rec=7,
        faults=FaultRates(**faults),
        seed=5,
    )
    for n in range(first - 1, first - 1 + frames):
        sender.send_frame(n)
        if n % 8 == 7:
            time.sleep(0.001)
    sender.close()
    return sender.report


def test_each_frame_has_the_time_at_which_it_arrived(tmp_path: Path):
    frames, before = 100, []
    with receiver(tmp_path) as r:
        schedule = Schedule.at_rate(1000, first_pulse=FIRST_PULSE, pulse_step=STEP)
        sender = UdpModuleSender(("127.0.0.1", r.port), GEOMETRY, schedule, module_id=MODULE)
        for n in range(frames):  # several frames come with one wake-up
            before.append(time.time_ns())
            sender.send_frame(n)
            time.sleep(0.001)
        sender.close()
        r.settled(frames * 32, complete=frames, delivered=frames)
        assert r.stop()[0] == 0
    reader = BufferReader(tmp_path / "data/JFT", "M00")
    found = [reader.read_frame(FIRST_PULSE + n * STEP).head for n in range(frames)]
    after = [*before[1:], time.time_ns()]
    assert all(a <= head.timestamp_ns <= b for a, head, b in zip(before, found, after, strict=True))
    begun = found[0].detector_time
    assert [head.detector_time - begun for head in found] == [n * 10_000 for n in range(frames)]


def test_frames_end_on_disk_as_documented(tmp_path: Path):
    frames = 20
    with receiver(tmp_path) as r:
        send(r.port, frames)
        status = r.settled(frames * 32, complete=frames, delivered=frames)
        assert status["state"] == "Receiving"
        assert status["pulse_id"] == FIRST_PULSE + (frames - 1) * STEP
        assert status["frame_index"] == frames
        assert status["senders"] == 1
        assert status["dma"]["total_bytes"] == 16 << 20
        assert realtime_threads(r.process.pid) == ({r.process.pid} if realtime_allowed() else set())
        assert r.stop()[0] == 0
    for n in range(frames):
        pulse = FIRST_PULSE + n * STEP
        data = frame_pattern(pulse, MODULE, GEOMETRY.shape, "uint16").tobytes()
        record = b"\xbe" + struct.pack("<5Q", pulse, n + 1, 7, 32, 0) + data
        path = tmp_path / "data/JFT/M00" / relative_path(pulse)
        assert path == tmp_path / f"data/JFT/M00/12300000/{pulse // 1000 * 1000}.bin"
        with path.open("rb") as file:
            file.seek(pulse % 1000 * len(record))
            assert file.read(len(record)) == record


def test_faults_are_counted_as_sent(tmp_path: Path):
    with receiver(tmp_path) as r:
        report = send(r.port, 200, loss=0.01, duplicate=0.01, reorder=0.02)
        status = r.settled(report.packets, complete=report.complete, delivered=200 - report.empty)
        packets = status["packets"]
        assert packets["lost"] == report.lost > 0
        assert packets["duplicate"] == report.duplicated > 0
        assert packets["placed"] == 200 * 32 - report.lost
        assert packets["late"] == packets["alien"] == packets["malformed"] == 0
        assert r.stop()[0] == 0


def last_snapshot(sock: zmq.Socket[bytes]) -> dict[str, Any]:
    """What a receiver that has ended published last."""
    while True:
        assert sock.poll(20_000)
        status = json.loads(sock.recv())
        if status["state"] == "Stopped":
            return status


def send_stock(port: int, frames: range) -> None:
    """Send frames as a stock detector does: the frame number is all that numbers them."""
    packets = ModulePackets(STOCK)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for index in frames:
            data = frame_pattern(index, MODULE, STOCK.shape, "uint16")
            packets.fill(data, FrameHead(0, index, 0, 0, MODULE, timestamp_ns=index * 10**6))
            for row in packets.packets:
                sock.sendto(row, ("127.0.0.1", port))


@pytest.mark.long
def test_pulses_of_a_stock_detector_go_on_above_what_is_on_disk(tmp_path: Path):
    (port,) = free_ports(1)
    config = write_config(tmp_path, port=port, geometry=STOCK_TABLE)
    sent = [(range(1, 21), 0), (range(21, 31), 0), (range(1, 6), 100_000), (range(2, 9), 200_000)]
    total = 0
    for life, (frames, base) in enumerate(sent):
        total += len(frames)
        with Receiver(config, port) as r:
            r.wait_for(f"^READY {re.escape(WORKER)}")
            send_stock(port, frames)
            status = r.settled(total * 32, complete=total, delivered=total, bad_pulse=0, resyncs=0)
            assert status["pulse_id"] == base + frames[-1] * STEP
            assert status["frames"]["restarts"] == max(0, life - 1)
            assert status["packets"]["bad_pulse"] == status["packets"]["alien"] == 0
            assert ("restarted its count" in status["message"]) == (life >= 2)
            r.stop(signal.SIGKILL if life == 0 else signal.SIGTERM)
            if life == 2:  # as after a reboot: what is on disk is all that is known
                r.runtime.shm("pulse-base").unlink()
    reader = BufferReader(tmp_path / "data/JFT", "M00")
    extent = reader.extent()
    assert extent is not None
    kept = {base + index * STEP: index for frames, base in sent for index in frames}
    assert list(reader.pulses(*extent)) == sorted(kept)
    for pulse_id, index in kept.items():
        frame = reader.read_frame(pulse_id)
        assert (frame.head.frame_index, frame.head.module_id) == (index, 0)
        assert np.array_equal(frame.data, frame_pattern(index, MODULE, STOCK.shape, "uint16"))


@pytest.mark.long
@pytest.mark.parametrize("name", ["eiger-4", "eiger-12", "eiger-32", "eiger-32-1g", "jungfrau-half"])
def test_other_geometries(tmp_path: Path, name: str):
    """Exact from packet to disk and stream, packed or not, with the packets that are missing, also beyond the 256th."""
    geometry, frames = GEOMETRIES[name], 6
    packets = geometry.packets_per_frame
    with (
        receiver(tmp_path, geometry=f'"{name}"', extra='pulse_from = "bunchid"') as r,
        ModuleStream(r.runtime.frames(WORKER), geometry.shape, geometry.dtype, timeout_s=20) as stream,
    ):
        until(lambda: r.status()["zmq"]["subscribers"] == 1)
        report = send(r.port, frames, geometry=geometry, loss=0.02)
        r.settled(report.packets, complete=report.complete, delivered=frames)
        streamed = [next(stream) for _ in range(frames)]
        assert r.stop()[0] == 0
    lost: list[int] = []
    with BufferReader(tmp_path / "data/JFT") as reader:
        for n, (head, data) in enumerate(streamed):
            stored = reader.read_frame(FIRST_PULSE + n * STEP)
            flags = missing_flags(stored.head.missing, packets)
            lost += np.flatnonzero(flags).tolist()
            assert (stored.head[:5], head.n_recv_packets) == (head[:5], packets - flags.sum())
            expected = stored_pattern(head.pulse_id, MODULE, geometry.layout).reshape(packets, -1)
            expected[flags] = 0
            for found in (stored.data, data):
                assert found.dtype == geometry.layout.pixel_type
                assert geometry.layout.store(np.ascontiguousarray(found)).tobytes() == expected.tobytes()
    assert len(lost) == report.lost > 0
    assert packets <= 256 or max(lost) > 256


def test_frames_are_published_and_notified(tmp_path: Path):
    with receiver(tmp_path) as r, zmq.Context() as context:
        frames, notes = context.socket(zmq.SUB), context.socket(zmq.SUB)
        for sock, address in ((frames, r.runtime.frames(WORKER)), (notes, r.runtime.notify(WORKER))):
            sock.linger = 0
            sock.subscribe(b"")
            sock.connect(address)
        until(lambda: r.status()["zmq"]["subscribers"] == 1)
        n = 0

        def both() -> bool:
            nonlocal n
            n += 1
            send(r.port, 1, first=n)
            return bool(frames.poll(50) and notes.poll(50))

        until(both)
        head, data = frames.recv_multipart()
        pulse = int(np.frombuffer(head, MODULE_FRAME)[0]["pulse_id"])
        assert data == frame_pattern(pulse, MODULE, GEOMETRY.shape, "uint16").tobytes()
        assert len(notes.recv()) == 8
        frames.close()
        notes.close()
        assert r.stop()[0] == 0


def test_run_states(tmp_path: Path):
    with receiver(tmp_path, "--state", "configured") as r:
        assert (r.status()["run_state"], r.status()["state"]) == ("Configured", "Idle")
        send(r.port, 2)
        r.settled(64, complete=0)
        with pytest.raises(CommandError, match="Enable refused"):
            r.ask("transition", service="Enable")
        with pytest.raises(CommandError, match="expected one of Configure"):
            r.ask("transition", service="Nonsense")
        assert r.ask("transition", service="BeginRun") == "Running"
        assert r.ask("transition", service="Enable") == "Enabled"
        send(r.port, 3, first=3)
        r.settled(5 * 32, complete=3)
        assert r.ask("transition", service="Disable") == "Running"
        send(r.port, 2, first=6)
        packets = r.settled(7 * 32, complete=3)["packets"]
        assert (packets["disabled"], packets["placed"], packets["lost"]) == (4 * 32, 3 * 32, 0)
        assert r.ask("transition", service="Enable") == "Enabled"
        send(r.port, 2, first=8)
        assert r.settled(9 * 32, complete=5)["packets"]["lost"] == 0
        assert r.stop()[0] == 0


def test_outputs_are_switched(tmp_path: Path):
    with receiver(tmp_path) as r:
        r.ask("output", output="disk", enabled=False)
        send(r.port, 3)
        disk = r.settled(3 * 32, complete=3)["disk"]
        assert (disk["state"], disk["offered"], disk["disabled"], disk["written"]) == ("Off", 3, 3, 0)
        r.ask("output", output="disk", enabled=True)
        send(r.port, 3, first=4)
        assert r.settled(6 * 32, complete=6)["disk"]["written"] == 3
        with pytest.raises(CommandError, match="expected one of disk, zmq"):
            r.ask("output", output="tape", enabled=True)
        for outside, reason in (("relative", "absolute"), ("/etc", "expected a place below the roots")):
            with pytest.raises(CommandError, match=reason):
                r.ask("folder", folder=outside)
        r.ask("folder", folder=str(tmp_path / "other"))
        send(r.port, 1, first=7)
        r.settled(7 * 32, complete=7)
        assert list((tmp_path / "other/JFT/M00").rglob("*.bin"))
        assert r.stop()[0] == 0


def test_stream_that_stops_is_flushed_and_stalls(tmp_path: Path):
    with receiver(tmp_path) as r:
        report = send(r.port, 1, loss=0.5)
        status = r.settled(report.packets, incomplete=1)
        assert status["packets"]["lost"] == report.lost
        until(lambda: r.status()["state"] == "Stalled")
        assert r.stop()[0] == 0


def test_garbage_and_strangers_are_named_and_counted(tmp_path: Path):
    with receiver(tmp_path) as r, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for length in (0, 3, 47, 9000):
            sock.sendto(bytes(length), ("127.0.0.1", r.port))
        sock.sendto(bytes(48 + GEOMETRY.packet_data_bytes), ("127.0.0.1", r.port))  # module 0, not 3
        send(r.port, 2)
        status = r.settled(5 + 64, complete=2)
        assert (status["packets"]["malformed"], status["packets"]["alien"]) == (4, 1)
        assert status["senders"] == 2
        assert status["message"]
        code, errors = r.stop()
    assert code == 0
    assert errors.count("malformed") == 1
    assert errors.count("alien") == 1


def test_wrong_source_is_alien(tmp_path: Path):
    with receiver(tmp_path, extra='source = "127.0.0.1:9"') as r:
        send(r.port, 2)
        assert r.settled(64, complete=0)["packets"]["alien"] == 64
        assert r.stop()[0] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_mid_stream_leaves_nothing(tmp_path: Path, number: int):
    with receiver(tmp_path) as r:
        with zmq.Context() as context, context.socket(zmq.SUB) as sock:
            sock.linger = 0
            sock.subscribe(b"")
            sock.connect(r.runtime.status(WORKER))
            assert sock.poll(20_000)
            send(r.port, 5)
            send(r.port, 1, first=6, loss=0.3)
            code, _ = r.stop(number)
            last = last_snapshot(sock)
        assert code == 0
        assert last["frames"]["delivered"] == 6
        assert not r.runtime.shm(WORKER).exists()
        assert not r.runtime.folder.exists() or not list(r.runtime.folder.iterdir())


def test_port_in_use_is_one_line_and_leaves_nothing(tmp_path: Path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        config = write_config(tmp_path, port=port)
        done = subprocess.run(
            [sys.executable, "-m", "ioc", "receive", str(config)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    runtime = RuntimeNames(f"T{os.getpid()}:{port}:")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("pebbledaq: ")] == [
        (
            f"pebbledaq: udp 127.0.0.1:{port}: Address already in use: another program listens there; "
            "stop it, or give the module another port"
        )
    ]
    assert not runtime.shm(WORKER).exists()
    assert not runtime.folder.exists() or not list(runtime.folder.iterdir())


def test_unknown_module_is_a_configuration_error(tmp_path: Path):
    config = write_config(tmp_path, port=free_ports(1)[0])
    done = subprocess.run(
        [sys.executable, "-m", "ioc", "receive", str(config), "M77"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr.strip()) == (
        2,
        "pebbledaq: [[udp]]: found 'M77', expected one of: M00",
    )
