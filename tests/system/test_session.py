"""The session of docs/how-to/hdf5.md, command by command, on a small buffer: what it prints is what the page shows."""

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from detectors.config import load_config
from detectors.runtime import Runtime
from detectors.workers.commands import request
from ioc.templates import loads
from tests.support.ports import free_ports
from tests.support.waiting import until
from tests.unit.buffer.make import RawBuffer

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "hdf5.md").read_text()
PULSES = (12345000, *range(12345198, 12345203), 12345499)

pytestmark = pytest.mark.usefixtures("runtime_dir")


def steps() -> list[tuple[str, list[str]]]:
    """Every command of the page, with the lines that it prints."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def shape(line: str) -> str:
    """A line without what differs from run to run: numbers, the width of columns, and whether a busy host sent late."""
    line = re.sub(r"; \d+ pulses late: the rate is too high$", "", line)
    return " ".join(re.sub(r"\d+(\.\d+)?", "#", line).split())


def written(module: str) -> int:
    return request(Runtime("AGAIN:").command(f"udp.{module}"), "status", timeout_s=5)["disk"]["written"]


class Shell:
    """Runs commands as a shell would, in a folder where the demo has been."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs: list[subprocess.Popen[str]] = []
        port = next(p for p in free_ports(2) if p < 65535)
        self._instead = {"50040": str(port), "50041": str(port + 1), "/tmp/again": f"{folder}/again"}

    def local(self, text: str) -> str:
        for theirs, ours in self._instead.items():
            text = text.replace(theirs, ours)
        return text

    def run(self, command: str) -> str:
        words = shlex.split(self.local(command))
        if words[0] == "kill":
            for module in ("M00", "M01"):  # a person takes longer to type than a packet to arrive
                until(lambda m=module: written(m), lambda n: n == len(PULSES))
            for job in self.jobs:
                job.send_signal(signal.SIGTERM)
            assert [job.wait(20) for job in self.jobs] == [0] * (len(words) - 1)
            return ""
        start = {"pebbledaq": [sys.executable, "-m", "ioc"], "python": [sys.executable], "cmp": ["cmp"]}[words[0]]
        if words[-1] == "&":
            job = subprocess.Popen([*start, *words[1:-1]], cwd=self.folder, stdout=subprocess.PIPE, text=True)
            self.jobs.append(job)
            assert job.stdout is not None
            return next(line for line in job.stdout if line.startswith("READY"))
        done = subprocess.run(
            [*start, *words[1:]], cwd=self.folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def close(self) -> None:
        for job in self.jobs:
            if job.poll() is None:
                job.kill()
                job.wait()
            assert job.stdout is not None
            job.stdout.close()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    raw = RawBuffer(tmp_path / "session" / "data" / "DEMO", shape=(512, 1024))
    for module in raw.modules:
        for pulse_id in PULSES:
            raw.put(module, pulse_id)
        (raw.folder / module / "LATEST").write_text("12300000/12345000.bin\n")
    running = Shell(tmp_path)
    (toml,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "session" / "again.toml").write_text(running.local(toml) + 'min_free = "64 MiB"\n')
    yield running
    running.close()


@pytest.mark.long
def test_the_session_runs_as_shown(shell: Shell) -> None:
    (demo, _), *session = steps()
    assert demo == "pebbledaq demo --seconds 5 --output session"
    verbs = [command.split()[1] for command, _ in session]
    assert {"read", "write", "verify", "receive", "replay"} <= set(verbs)
    for command, lines in session:
        printed = [shape(line) for line in shell.run(command).splitlines()]
        assert [shape(shell.local(line)) for line in lines] == printed, command


def test_every_pv_of_the_page_exists() -> None:
    names = {name for load in loads(load_config(ROOT / "examples" / "both.toml")) for name in load.names()}
    shown = {f"DAQ:BOTH:{name}" for name in re.findall(r"`\$\(P\)([A-Za-z0-9:_]+)`", PAGE)}
    assert len(shown) > 10
    # Two detectors: the records of each begin with its name.
    assert {
        name for name in shown if name not in names and name.replace("BOTH:", "BOTH:BOTH:", 1) not in names
    } == set()
