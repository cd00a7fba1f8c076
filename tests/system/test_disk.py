"""What the disk output promises, with receivers as processes: one writer, nothing lost uncounted, an end that is counted."""

import os
import shutil
import signal
import socket
import struct
import time
from pathlib import Path

import pytest
import zmq

from detectors.buffer.layout import relative_path
from detectors.stats import ReceiverStatus
from sim.pattern import frame_pattern
from tests.support.balance import imbalance
from tests.support.ports import free_ports
from tests.support.process import run
from tests.support.waiting import until
from tests.system.test_receive import (
    FIRST_PULSE,
    GEOMETRY,
    STEP,
    WORKER,
    Receiver,
    last_snapshot,
    receiver,
    send,
    write_config,
)

pytestmark = pytest.mark.usefixtures("runtime_dir")

RECORD_BYTES = 41 + 64 * 128 * 2


def stored(folder: Path, pulse_id: int) -> bytes:
    with (folder / relative_path(pulse_id)).open("rb") as file:
        file.seek(pulse_id % 1000 * RECORD_BYTES)
        return file.read(RECORD_BYTES)


def test_two_servers_with_one_folder_cannot_mix_their_records(tmp_path: Path):
    """Finding: both said that all was written, and half of the records had the wrong pixels."""
    second = tmp_path / "second"
    second.mkdir()
    with receiver(tmp_path) as first:
        (port,) = free_ports(1)
        config = write_config(second, port=port)
        config.write_text(config.read_text().replace(str(second), str(tmp_path)))
        refused = run("receive", str(config), "M00")
        assert refused.returncode == 1
        (line,) = [line for line in refused.stderr.splitlines() if line.startswith("pebbledaq: ")]
        assert f"{tmp_path}/data/JFT/M00: process {first.pid} on host {socket.gethostname()} since " in line
        assert "writes there; stop that server" in line
        send(first.port, 20)
        first.settled(20 * 32, delivered=20)
        first.end(signal.SIGKILL)
        with Receiver(config, port).ready() as taken_over:
            send(port, 10, first=21)
            status = taken_over.settled(10 * 32, delivered=10)
            assert status["disk"]["written"] == 10
            assert taken_over.stop()[0] == 0
    for n in range(30):
        pulse = FIRST_PULSE + n * STEP
        pixels = frame_pattern(pulse, 3, GEOMETRY.shape, "uint16").tobytes()
        assert stored(tmp_path / "data/JFT/M00", pulse) == b"\xbe" + struct.pack("<5Q", pulse, n + 1, 7, 32, 0) + pixels


def test_a_folder_removed_while_it_is_written_is_noticed_and_its_loss_counted(tmp_path: Path):
    with receiver(tmp_path) as r:
        send(r.port, 8)
        r.settled(8 * 32, delivered=8)
        r.until(lambda s: s["disk"]["durable"] == 8)
        send(r.port, 8, first=9)
        r.settled(16 * 32, delivered=16)
        shutil.rmtree(r.folder)
        removed = r.status()["disk"]["durable"]
        sent = 16

        def noticed() -> bool:
            nonlocal sent
            sent += 1
            send(r.port, 1, first=sent)
            time.sleep(0.02)
            return r.status()["disk"]["errors"] > 0

        until(noticed)
        send(r.port, 4, first=sent + 1)
        sent += 4
        status = r.settled(sent * 32, delivered=sent)
        disk = status["disk"]
        assert not imbalance(ReceiverStatus, status)
        assert disk["written"] == sent
        status = r.until(lambda s: not s["disk"]["unsynced"])
        code, text = r.stop()
        assert code == 0
        assert "removed or replaced while it was written" in text
        held = sum(
            stored(r.folder, FIRST_PULSE + n * STEP)[:1] == b"\xbe"
            for n in range(sent)
            if (r.folder / relative_path(FIRST_PULSE + n * STEP)).exists()
        )
        # The rest is on the disk, or counted as lost there.
        assert held == status["disk"]["durable"] - removed
        assert held + status["disk"]["lost_on_disk"] + removed == sent
        assert status["disk"]["lost_on_disk"] >= 1


SLOW_DISK = """
import os, time
for name in ("pwrite", "pwritev"):
    def slow(*words, call=getattr(os, name)):
        time.sleep(0.4)
        return call(*words)
    setattr(os, name, slow)
"""


def test_what_a_slow_disk_leaves_at_the_end_is_counted_in_the_last_snapshot(tmp_path: Path):
    """Finding: 90 frames were queued when the receiver ended, and no counter had them."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SLOW_DISK)
    (port,) = free_ports(1)
    config = write_config(tmp_path, port=port, extra="[run]\ndrain_s = 1.0")
    environment = {**os.environ, "PYTHONPATH": str(site)}
    with (
        Receiver(config, port, environment=environment).ready() as r,
        zmq.Context() as context,
        context.socket(zmq.SUB) as sock,
    ):
        sock.linger = 0
        sock.subscribe(b"")
        sock.connect(r.runtime.status(WORKER))
        assert sock.poll(20_000)
        send(port, 24)
        until(lambda: r.status()["disk"]["queued"] > 8)
        assert r.end() == 0
        status = last_snapshot(sock)
    disk = status["disk"]
    assert not imbalance(ReceiverStatus, status)
    assert (disk["offered"], disk["queued"]) == (24, 0)
    assert disk["dropped"] > 8
    assert "were not written within" in disk["message"]
    held = sum(stored(r.folder, FIRST_PULSE + n * STEP)[:1] == b"\xbe" for n in range(5))
    assert held >= disk["written"] >= 1
