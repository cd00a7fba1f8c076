"""The commands on a buffer, as a user types them, and a replay received again."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import h5py
import imagecodecs
import numpy as np
import pytest

from tests.support.ports import free_ports
from tests.support.process import Process
from tests.support.senders import PATIENT
from tests.support.waiting import until
from tests.unit.buffer.make import RawBuffer

ROWS, COLS, PACKETS = 16, 64, 8


def run(*args: object, expect: int = 0) -> str:
    """Run ``pebbledaq`` and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "ioc", *map(str, args)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == expect, done.stderr or done.stdout
    assert "Traceback" not in done.stderr
    return done.stdout if expect in (0, 1) else done.stderr


@pytest.fixture
def raw(tmp_path) -> RawBuffer:
    """Two modules around the edge of a file; some packets and one whole frame are missing."""
    raw = RawBuffer(tmp_path / "JF", shape=(ROWS, COLS), packets=PACKETS)
    for pulse_id in range(12_345_990, 12_346_020):
        raw.put("M00", pulse_id)
        if pulse_id == 12_345_995:
            continue
        data = raw.frame("M01", pulse_id).copy()
        if pulse_id % 7 == 0:
            data[2:4] = data[14:16] = 0  # two rows a packet
            raw.put("M01", pulse_id, packets=PACKETS - 2, missing=bytes([0b1000_0010]), data=data.tobytes())
        else:
            raw.put("M01", pulse_id)
    return raw


def test_read(raw, tmp_path):
    found = json.loads(run("read", raw.folder, 12_345_996, "--json", "--output", tmp_path / "out.png"))
    assert (found["pulse_id"], found["detector"], found["shape"]) == (12_345_996, "JF", [2 * ROWS, COLS])
    assert found["is_good_frame"] is (12_345_996 % 7 != 0)
    module = found["modules"]["M00"]
    assert (module["n_recv_packets"], module["expected_packets"], module["missing_packets"]) == (PACKETS, PACKETS, [])
    assert module["path"] == str(raw.path("M00", 12_345_996))
    assert module["mean"] == pytest.approx(raw.frame("M00", 12_345_996).mean())
    assert imagecodecs.png_decode((tmp_path / "out.png").read_bytes()).shape == (2 * ROWS, COLS)
    assert json.loads(run("read", raw.folder, 12_345_995, "--json"))["modules"]["M01"] is None
    lossy = next(p for p in range(12_345_990, 12_346_020) if p % 7 == 0)
    assert json.loads(run("read", raw.folder, lossy, "--json"))["modules"]["M01"]["missing_packets"] == [1, 7]
    table = run("read", raw.folder, lossy)
    assert "NOT complete" in table
    assert "6/8" in table
    assert "no record" in run("read", raw.folder, 12_345_995)
    raw.poke(raw.path("M01", 12_345_996), 996 * raw.record_bytes, b"\x42")
    (torn,) = json.loads(run("read", raw.folder, 12_345_996, "--json"))["unreadable"]
    assert "torn record of pulse 12345996" in torn
    assert "torn record of pulse 12345996" in " ".join(run("read", raw.folder, 12_345_996).split())
    assert (
        "pulse 5 is not in the buffer"
        in subprocess.run(
            [sys.executable, "-m", "ioc", "read", raw.folder, "5"], capture_output=True, text=True, check=False
        ).stderr
    )


def test_verify_exits_0_1_or_2(raw, tmp_path):
    assert "agreement: M01 pulse 12345995: M01 has no record" in run("verify", raw.folder, expect=1)
    assert "24 records in 2 files: 0 findings" in run("verify", raw.folder, "--start", 12_346_008)
    clean = json.loads(run("verify", raw.folder, "--json", "--start", 12_346_000))
    assert (clean["records"], clean["findings"], clean["list"]) == (40, 0, [])
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["data/JF/data"] = np.zeros(1)
    found = json.loads(run("verify", raw.folder, tmp_path / "x.h5", "--start", 12_346_000, "--json", expect=1))
    assert [f["check"] for f in found["list"]] == ["hdf5_layout"]
    assert "detector.json: cannot be read" in run("verify", tmp_path / "none", expect=2)
    assert "no.h5: cannot be opened" in run("verify", raw.folder, tmp_path / "no.h5", expect=2)


def test_repair(raw):
    raw.put("M01", 12_345_995)
    raw.poke(raw.path("M00", 12_346_000), 3 * raw.record_bytes + 1, b"\0\0\0")
    assert "1 findings" in run("verify", raw.folder, expect=1)
    assert "pulse_id: M00 pulse 12346003" in run("repair", raw.folder, "--dry-run")
    assert "1 findings" in run("verify", raw.folder, expect=1)
    assert "3 repaired" in run("repair", raw.folder)  # and LATEST of both modules
    assert "agreement: M00 pulse 12346003" in run("verify", raw.folder, expect=1)
    assert "0 repaired" in run("repair", raw.folder)


def receivers_config(path: Path, ports: list[int], data: Path) -> Path:
    modules = "".join(
        f"""
[[udp]]
name = "M{i:02}"
{PATIENT}expect_module_id = {i}
port = {port}
address = "127.0.0.1"
geometry = {{ header = "jungfrau", rows = {ROWS}, cols = {COLS}, dtype = "uint16", packets_per_frame = {PACKETS} }}
"""
        for i, port in enumerate(ports)
    )
    path.write_text(
        f"""
[detector]
name = "JF"
prefix = "REPLAY{os.getpid()}:"
[dma]
cfgRxCount = 16
cfgSize = "64 KiB"
[pools]
pebbleBufCount = 64
{modules}
[disk]
folder = "{data}"
min_free = "1 MiB"
[zmq]
enabled = false
"""
    )
    return path


def test_a_replayed_run_received_again_is_byte_for_byte_the_same(raw, tmp_path, short_runtime_dir):
    ports = free_ports(2)
    config = receivers_config(tmp_path / "jf.toml", ports, tmp_path / "again")
    with ExitStack() as stack:
        receivers = [
            stack.enter_context(Process("-m", "ioc", "receive", str(config), f"M{i:02}").ready()) for i in range(2)
        ]
        printed = run(
            "replay", raw.folder, "--geometry", f"jungfrau:{PACKETS}", "--rate", 100,
            "--udp", f"127.0.0.1:{ports[0]}", "--udp", f"127.0.0.1:{ports[1]}",
        )  # fmt: skip
        assert "30 pulses, 59 frames" in printed
        again = tmp_path / "again" / "JF"
        last = raw.record_bytes * 19
        for module in raw.modules:
            path = again / module / "12300000" / "12346000.bin"
            until(lambda path=path: path.exists() and path.read_bytes()[last : last + 1] == b"\xbe")
        assert [process.end() for process in receivers] == [0, 0], [process.text for process in receivers]
    for module in raw.modules:
        for pulse_id in (12_345_990, 12_346_000):
            ours, theirs = (
                raw.path(module, pulse_id),
                again / module / raw.path(module, pulse_id).relative_to(raw.folder / module),
            )
            assert ours.read_bytes() == theirs.read_bytes()
    assert "1 findings" in run("verify", again, expect=1)  # the frame that was never there
