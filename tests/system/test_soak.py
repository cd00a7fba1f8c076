"""The long runs at a size for every day; and that they notice what is wrong, and clean up after themselves."""

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.soak.processes import with_runtime_dir
from detectors.runtime_names import SHM_FOLDER
from tests.support.process import Process

END_S = 150
SMALL = ("--rate", "20", "--shape", "128x256", "--pulses-per-image", "4")

pytestmark = [pytest.mark.alone, pytest.mark.timeout(END_S + 30)]


class Soak(Process):
    """One run, its lines as they come, and its result."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        self._json = folder / "result.json"
        words = ("-m", "bench.soak", *words, "--folder", str(folder), "--json", str(self._json))
        super().__init__(*words, environment={**os.environ, "COLUMNS": "160"}, timeout_s=END_S)

    @property
    def result(self) -> dict:
        return json.loads(self._json.read_text())

    def children(self) -> dict[int, str]:
        """Processes of the run, by the runtime folder that its children have; none before there are any."""
        for path in Path("/proc").glob("[0-9]*"):
            try:
                parent = (path / "stat").read_text().rsplit(")", 1)[1].split()[1]
                environment = (path / "environ").read_bytes().decode(errors="replace")
            except OSError:  # it has ended
                continue
            found = re.search(r"XDG_RUNTIME_DIR=(/tmp/pd[^\0]+)", environment)
            if parent == str(self.process.pid) and found:
                return with_runtime_dir(Path(found[1]))
        return {}

    def child(self, *words: str) -> int:
        """Wait for the process whose command line has these words, and return it."""
        deadline = time.monotonic() + END_S
        while True:
            for pid, line in self.children().items():
                if all(word in line for word in words):
                    return pid
            assert time.monotonic() < deadline, self.text
            assert self.process.poll() is None, self.text
            time.sleep(0.05)

    def left_behind(self) -> list[str]:
        """What lies in the folder besides the result, and shared memory."""
        found = [str(path) for path in self.folder.iterdir() if path != self._json]
        return found + [str(p) for p in SHM_FOLDER.glob(f"pebbledaq-{os.getuid()}-SOAK{self.process.pid}-*")]


@pytest.fixture
def soak(tmp_path: Path) -> Iterator[Callable[..., Soak]]:
    running: list[Soak] = []

    def start(*words: str) -> Soak:
        running.append(Soak(tmp_path, *words))
        return running[-1]

    yield start
    for one in running:
        one.end()


@pytest.mark.long
def test_steady(soak: Callable[..., Soak]):
    one = soak("steady", "--seconds", "3", *SMALL)
    assert one.wait() == 0, one.text
    assert "steady: everything agrees" in one.text
    assert one.result["counters"]["udp.M00"]["disk.written"] == 60
    assert one.result["counters"]["pva.CAM"]["updates.match"] == 15
    assert all(not any(rest.values()) for rest in one.result["balance"].values())
    assert one.left_behind() == []


@pytest.mark.long
def test_without_disk(soak: Callable[..., Soak]):
    one = soak("no-disk", "--seconds", "2", *SMALL)
    assert one.wait() == 0, one.text
    assert one.result["counters"]["udp.M01"]["disk.disabled"] == 40
    assert "disk.written" not in one.result["counters"]["udp.M01"]
    assert one.left_behind() == []


@pytest.mark.long
def test_a_camera_that_is_killed_again_and_again(soak: Callable[..., Soak]):
    words = ("--seconds", "11", "--every", "3", "--away", "0.5", "--rate", "40", "--pulses-per-image", "4")
    one = soak("restarts", *words, "--shape", "128x256")
    assert one.wait() == 0, one.text
    updates = {k.removeprefix("updates."): v for k, v in one.result["counters"]["pva.CAM"].items()}
    assert updates["reconnects"] >= 2
    assert updates["missed"] > 0
    assert updates["restarts"] >= 1
    assert one.left_behind() == []


@pytest.mark.long
def test_workers_and_ioc_that_are_killed(soak: Callable[..., Soak]):
    one = soak("kills", "--seconds", "7", "--every", "1", "--seed", "5", *SMALL)
    assert one.wait() == 0, one.text
    killed = {name: int(n) for name, n in re.findall(r"(\w+)(?:: | )killed (\d+) times", one.text)}
    assert sum(killed.values()) >= 2, one.text
    assert one.left_behind() == []


@pytest.mark.long
def test_a_worker_that_dies_unplanned_is_a_failure(soak: Callable[..., Soak]):
    one = soak("steady", "--seconds", "4", *SMALL)
    receiver = one.child("receive", "M01")
    deadline = time.monotonic() + END_S
    while " of 4 s: M00 Rec" not in one.text and "0 of 4 s" not in one.text:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(receiver, signal.SIGKILL)
    assert one.wait() == 1, one.text
    assert "something does not agree" in one.text
    assert one.result["ok"] is False
    assert any(not line["agrees"] and line["what"].startswith("M01") for line in one.result["comparisons"])
    assert not any(not line["agrees"] and line["what"].startswith("M00") for line in one.result["comparisons"])
    assert one.left_behind() == []


@pytest.mark.long
def test_given_up_it_leaves_nothing(soak: Callable[..., Soak]):
    one = soak("steady", "--seconds", "60", *SMALL)
    one.child("monitor", "CAM")
    pids = set(one.children())
    one.process.send_signal(signal.SIGTERM)
    assert one.wait() == 1, one.text
    assert "interrupted" in one.text
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert one.left_behind() == []


def test_a_disk_that_is_too_small_is_one_line(soak: Callable[..., Soak]):
    one = soak("steady", "--seconds", "100000000", *SMALL)
    assert one.wait() == 1
    assert "GB free in" in one.text
    assert one.left_behind() == []
