"""The demo, as a user runs it: it must agree, notice when something does not, and leave nothing behind."""

import os
import signal
import time
import urllib.request
from contextlib import ExitStack, suppress

import psutil
import pytest

from detectors.buffer.reader import BufferReader
from detectors.runtime_names import SHM_FOLDER, RuntimeNames
from sim.pattern import check_frame
from tests.support.process import Process
from tests.support.waiting import until

END_S = 100
pytestmark = pytest.mark.timeout(150)


@pytest.fixture
def demo():
    """What starts demos; they end with the test."""
    with ExitStack() as stack:

        def start(*arguments: str) -> Process:
            words = ("-m", "ioc", "demo", *arguments)
            return stack.enter_context(Process(*words, environment={**os.environ, "COLUMNS": "200"}, timeout_s=END_S))

        yield start


def left_behind(prefix: str) -> list[str]:
    """Processes, shared memory and sockets of a demo's IOC."""
    runtime = RuntimeNames(prefix)
    found = [str(p) for p in SHM_FOLDER.glob(runtime.shm("*").name)]
    found += [str(p) for p in runtime.folder.glob("*")]
    until(running_here, lambda running: not running)  # one that was killed may take a moment
    return found


def running_here() -> list[str]:
    """Processes of the program that have the runtime folder of these tests."""
    here, found = os.environ["XDG_RUNTIME_DIR"], []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if "ioc" in process.cmdline() and process.environ().get("XDG_RUNTIME_DIR") == here:
                found.append(str(process))
    return found


def prefix_of(one: Process) -> str:
    return one.wait_for(r"p4p\.client\.cli get (\S+?:)CAM")[1]


def test_everything_agrees_and_the_data_stays_where_asked(demo, tmp_path):
    one = demo("--seconds", "2", "--output", str(tmp_path / "kept"))
    prefix = prefix_of(one)
    assert one.wait() == 0, one.text
    assert "everything agrees" in one.text
    assert "M00: frames on disk" in one.text
    data = tmp_path / "kept" / "data"
    for module_id, name in enumerate(("M00", "M01")):
        frames = list(BufferReader(data / "DEMO", name).frames(12_345_000, 12_345_999))
        whole = [
            f for f in frames if f.head.n_recv_packets == 128
        ]  # a busy machine may lose some: counted, not ours to test
        assert len(whole) > 10
        assert all(check_frame(f.data, f.pulse_id, module_id, f.data.shape, f.data.dtype) for f in whole)
    images = list(BufferReader(data / "DEMO-CAM").frames(12_345_000, 12_345_999))
    assert images
    assert all(image.data.shape == (2048, 2048) for image in images)
    assert left_behind(prefix) == []
    again = demo("--seconds", "2", "--output", str(tmp_path / "kept"))
    assert again.wait() == 1
    assert "found data of another run" in again.text


@pytest.mark.long
def test_ctrl_c_ends_the_data_taking_and_the_check_is_done(demo):
    one = demo("--forever")
    prefix = prefix_of(one)
    assert "http://127.0.0.1:" in one.lines[0]
    page = one.wait_for(r"http://127\.0\.0\.1:\d+/")[0]
    one.wait_for(r"DEMO \d+ s .*pva\.CAM")
    time.sleep(1)  # some data
    with urllib.request.urlopen(f"{page}preview.jpg", timeout=10) as answer:  # noqa: S310  our own page
        assert answer.read(3) == b"\xff\xd8\xff"
    one.process.send_signal(signal.SIGINT)
    assert one.wait() == 0, one.text
    assert "everything agrees" in one.text
    assert left_behind(prefix) == []


@pytest.mark.long
def test_a_source_that_dies_is_noticed_and_all_is_cleaned_up(demo):
    one = demo("--seconds", "60")
    prefix = prefix_of(one)
    one.wait_for(r"DEMO \d+ of 60 s .*udp\.M01")
    sender = next(p for p in psutil.Process(one.process.pid).children() if "udp" in p.cmdline())
    sender.kill()
    assert one.wait() == 1, one.text
    assert "module M0" in one.text
    assert "everything agrees" not in one.text
    assert left_behind(prefix) == []


def test_given_up_during_the_start_nothing_is_left(demo):
    one = demo("--seconds", "60")
    deadline = time.monotonic() + END_S
    while len(psutil.Process(one.process.pid).children()) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    one.process.send_signal(signal.SIGTERM)
    assert one.wait() == 130, one.text
    assert left_behind("DEMO:") == []
