"""``pebbledaq status`` beside workers that run, hang and die, with and without an IOC."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from detectors.config import load_config
from detectors.runtime_names import RuntimeNames
from detectors.workers.commands import request
from tests.support.ioc_setup import CAM, M00, M01, write_config
from tests.support.process import Process, run

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]


class FakeProcess(Process):
    """A fake worker of a system; ``set`` changes its snapshot."""

    def __init__(self, prefix: str, worker: str, folder: Path) -> None:
        self.address = RuntimeNames(prefix).command(worker)
        super().__init__("-m", "tests.support.fake_worker", prefix, worker, str(folder))

    def set(self, **fields: Any) -> None:
        request(self.address, "set", **fields)
        request(self.address, "status")  # a snapshot: on its counters page, too


Start = Callable[[str], FakeProcess]


@pytest.fixture
def config(tmp_path: Path, short_runtime_dir: Path) -> Path:
    return write_config(tmp_path)


@pytest.fixture
def start(config: Path, tmp_path: Path) -> Iterator[Start]:
    prefix = load_config(config).detector.prefix
    with ExitStack() as stack:

        def begin(worker: str) -> FakeProcess:
            return stack.enter_context(FakeProcess(prefix, worker, tmp_path)).ready()

        yield begin


def test_what_runs_is_found_without_a_configuration_and_good(config: Path, start: Start) -> None:
    for worker in (M00, M01, CAM):
        start(worker)
    done = run("status")
    assert done.returncode == 0, done.stderr
    head, note, _, *rows, caption = done.stdout.splitlines()
    assert head.startswith(load_config(config).detector.prefix)
    assert "good" in head
    assert "the IOC does not run" in note
    assert [row.split()[:2] for row in rows] == [["CAM", "Receiving"], ["M00", "Receiving"], ["M01", "Receiving"]]
    assert "slots in use" in caption
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout


def test_a_worker_that_was_killed_is_named_and_its_last_counts_are_shown(config: Path, start: Start) -> None:
    start(M00)
    start(CAM)
    dead = start(M01)
    dead.set(**{"packets.lost": 41})
    dead.end(signal.SIGKILL)
    done = run("status", str(config), "--json")
    assert done.returncode == 1
    (system,) = json.loads(done.stdout)
    assert system["word"] == "broken"
    assert system["reasons"][0] == "udp.M01 does not run"
    assert system["workers"][M01]["state"] == "ended"
    assert system["workers"][M01]["values"]["packets.lost"] == 41


def test_a_worker_that_hangs_is_silent(start: Start) -> None:
    start(M00)
    hung = start(M01)
    hung.process.send_signal(signal.SIGSTOP)
    done = run("status", "--json")
    hung.process.send_signal(signal.SIGCONT)
    (system,) = json.loads(done.stdout)
    assert system["word"] == "broken"
    assert "udp.M01 runs and sends no snapshots" in system["reasons"]


def test_losses_show_while_they_happen(start: Start) -> None:
    worker = start(M00)
    with subprocess.Popen(
        [sys.executable, "-m", "ioc", "status", "--json", "--watch"], stdout=subprocess.PIPE, text=True
    ) as watch:
        assert watch.stdout is not None
        (before,) = json.loads(watch.stdout.readline())
        worker.set(**{"packets.lost": 9})
        while (after := json.loads(watch.stdout.readline())[0])["word"] == before["word"]:
            pass
        watch.send_signal(signal.SIGINT)
        assert watch.wait(20) == 0
    assert after["word"] == "losing"
    assert after["workers"][M00]["lost_recently"]["packets.lost"] == 9


def test_a_system_that_is_down_is_off_and_without_any_there_is_an_error(config: Path) -> None:
    done = run("status", str(config))
    assert done.returncode == 1
    assert " off " in done.stdout
    done = run("status")
    assert done.returncode == 1
    assert "found no running system of this account" in done.stderr
