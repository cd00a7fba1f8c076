"""What the host refuses: one line each on standard error, an exit code, and nothing left behind.

What is wrong in the request itself: ``tests/unit/cli/test_errors.py``.
"""

import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.soak.processes import with_runtime_dir
from detectors.runtime_names import SHM_FOLDER, RuntimeNames
from detectors.workers.lock import hold_lock
from tests.support.epics_env import epics_variables
from tests.support.forked import run_forked
from tests.support.ports import free_ports
from tests.support.senders import PATIENT

COMMANDS = {"run": (), "receive": ("M00",), "monitor": ("CAM",)}
PREFIX = f"ERR{os.getpid()}:"
END_S = 60


@dataclass
class Ended:
    """How a command ended."""

    code: int
    errors: list[str]
    """Its error lines, without the program's name."""
    output: str


class Detector:
    """A configuration that would do, and the means to spoil it."""

    def __init__(self, folder: Path, runtime_dir: Path) -> None:
        self.path = folder / "detector.toml"
        self.module_port, self.timing_port = free_ports(2)
        self.runtime_dir = runtime_dir
        self.text = (
            f'[detector]\nname = "DET"\nprefix = "{PREFIX}"\n'
            f'[disk]\nfolder = "{folder}/data"\n'
            f"[timing]\nport = {self.timing_port}\n"
            f'[[udp]]\nname = "M00"\n{PATIENT}expect_module_id = 0\nport = {self.module_port}\naddress = "127.0.0.1"\n'
            '[[pva]]\nname = "CAM"\npv = "SIM:IMAGE"\ndtype = "uint16"\nshape = [64, 64]\n'
        )

    def change(self, old: str, new: str) -> None:
        assert old in self.text
        self.text = self.text.replace(old, new)

    def write(self) -> Path:
        self.path.write_text(self.text)
        return self.path

    def fails(self, command: str, *, there_before: tuple[str, ...] = ()) -> Ended:
        """Run a command that must end by itself, without a traceback and without leaving anything."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("EPICS")}
        environment |= {**epics_variables(), "XDG_RUNTIME_DIR": str(self.runtime_dir)}
        done = run_forked([command, str(self.path), *COMMANDS[command]], environment, timeout_s=END_S)
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        assert "READY" not in done.stdout
        assert self.left_behind() == list(there_before)
        said = [line for line in done.stderr.splitlines() if line.startswith("pebbledaq: ")]
        return Ended(done.code, [line.removeprefix("pebbledaq: ") for line in said], done.stdout + done.stderr)

    def left_behind(self) -> list[str]:
        """Processes, shared memory, and anything in the runtime folder but the folder of all detectors."""
        found = [f"process {pid}: {words}" for pid, words in with_runtime_dir(self.runtime_dir).items()]
        found += [str(path) for path in SHM_FOLDER.glob(f"*{RuntimeNames(PREFIX).key}*")]
        return found + [str(path) for path in self.runtime_dir.glob("*/*")]


@pytest.fixture
def detector(tmp_path: Path) -> Iterator[Detector]:
    # Not in our own environment: a process is found by it.
    runtime_dir = Path(tempfile.mkdtemp(prefix="pd", dir="/tmp"))
    yield Detector(tmp_path, runtime_dir)
    shutil.rmtree(runtime_dir)


@pytest.fixture(params=COMMANDS)
def command(request: pytest.FixtureRequest) -> str:
    return request.param


def test_a_buffer_that_breaks_a_rule(detector: Detector, command: str):
    detector.text += "[pools]\npebbleBufCount = 100\n"
    detector.write()
    ended = detector.fails(command)
    assert ended.code == 2
    assert ended.errors
    assert all("pebbleBufCount" in line and "power of two" in line for line in ended.errors)


def test_a_port_in_use(detector: Detector, command: str):
    port = detector.timing_port if command == "monitor" else detector.module_port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", port))
        detector.write()
        ended = detector.fails(command)
    assert ended.code == 1
    assert len(ended.errors) == 1, ended.errors
    assert str(port) in ended.errors[0]
    assert "in use" in ended.errors[0]


def test_a_folder_that_cannot_be_written(detector: Detector, command: str):
    folder = "/dev/null/data"
    detector.change(f"{detector.path.parent}/data", folder)
    detector.write()
    ended = detector.fails(command)
    assert ended.code == 1
    assert len(ended.errors) == 1, ended.errors
    assert folder in ended.errors[0]
    assert re.search("cannot be (written|made)", ended.errors[0])


def test_too_little_memory(detector: Detector, command: str):
    detector.text += "[pools]\npebbleBufCount = 1073741824\n"
    detector.write()
    ended = detector.fails(command)
    assert ended.code == 1
    assert ended.errors
    assert all("memory" in line for line in ended.errors), ended.errors
    # What would fit is named, so that the user need not try.
    assert all(re.search(r"pebbleBufCount\D+\d+", line) for line in ended.errors), ended.errors


def test_a_second_process_of_the_same_name(detector: Detector, command: str, monkeypatch: pytest.MonkeyPatch):
    owner = {"run": "ioc", "receive": "udp.M00", "monitor": "pva.CAM"}[command]
    detector.write()
    with monkeypatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(detector.runtime_dir))
        runtime = RuntimeNames(PREFIX)
        with hold_lock(runtime, owner):
            patch.undo()
            found = detector.fails(
                command, there_before=(str(detector.runtime_dir / f"pebbledaq-{os.getuid()}" / runtime.key),)
            )
            patch.setenv("XDG_RUNTIME_DIR", str(detector.runtime_dir))
    assert found.code == 1
    assert len(found.errors) == 1
    assert f"{owner}: already running as process {os.getpid()}" in found.errors[0]
    assert detector.left_behind() == []
