"""Runs the commands of a page as a shell would."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from detectors.runtime_names import COUNTERS_VARIABLE
from tests.docs.blocks import ROOT, Block, Step
from tests.docs.names import Names
from tests.docs.shape import agrees
from tests.support.epics_env import epics_variables
from tests.support.waiting import until

COMMAND_S = 120.0
"""Most time for a command that is waited for."""
READY_S = 60.0
"""Most time for a command in the background to print what is shown."""
FILL_S = 20.0
"""What a command in the background prints in this time, or until a line READY, is put on the page when pages are renewed."""
END_S = 20.0
"""Most time for a command in the background to end."""
TYPING_S = 1.0
"""A person takes so long to type; a frame that was just sent has arrived meanwhile."""


class Job:
    """A command in the background; its output goes to a file."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self.output = output

    def lines(self) -> list[str]:
        text = self.output.read_text(errors="replace")
        return text.replace("\0", "").splitlines()  # a terminal shows none

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it as ``kill %1`` does, and return the exit code."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        try:
            return self.process.wait(END_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


class PageShell:
    """Context manager: a folder with a copy of the examples, and the commands that were run in it."""

    def __init__(self, page_text: str, *, fill: bool = False) -> None:
        self._fill = fill
        self.folder = Path(tempfile.mkdtemp(prefix="d", dir="/tmp"))
        examples = {path.name: path.read_text() for path in (ROOT / "examples").glob("*.*")}
        self.names = Names(self.folder / "tmp", [page_text, *examples.values()])
        self._cwd = self.folder / "page"
        self._state = self.folder / "state"
        self._state.touch()
        self._last_code = 0
        self._jobs: dict[int, Job] = {}
        self._python: subprocess.Popen[str] | None = None
        for name in ("page/examples", "tmp", "run", "counters", "state-home"):
            (self.folder / name).mkdir(parents=True)
        for name, text in examples.items():
            self.write(f"examples/{name}", text)
        self.environment = _environment(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._python:
                self._python.kill()
                self._python.communicate()
            for job in reversed(self._jobs.values()):
                with suppress(subprocess.TimeoutExpired):
                    job.end()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def write(self, name: str, text: str) -> None:
        """Write a file of the page."""
        path = self._cwd / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = self.names.ours(text)
        if path.suffix == ".toml" and "min_free" not in text:  # a full disk is not what pages are about
            text = text.replace("[disk]\n", '[disk]\nmin_free = "64 MiB"\n')
        path.write_text(text)

    def run(self, step: Step, *, code_expected: bool = False) -> list[str]:
        """Run a command to its end, or in the background until what is shown was printed. Return what it printed."""
        command = self.names.ours(step.command)
        if step.in_background:
            return self._start(command.removesuffix("&"), step)
        if killed := re.fullmatch(r"kill((?: %\d+)+)", command):
            self._kill([int(number) for number in killed[1].replace("%", "").split()])
            return []
        code, lines = self._run(command)
        assert code_expected or code == 0, f"line {step.line}: {command}\nexit code {code}\n" + "\n".join(lines)
        return [self.names.theirs(line) for line in lines]

    def execute(self, block: Block, page: str) -> None:
        """Execute a block of Python."""
        if self._python is None:
            with (self.folder / "python").open("a") as printed:
                self._python = subprocess.Popen(
                    [sys.executable, str(Path(__file__).with_name("interpreter.py"))],
                    cwd=self._cwd, env=self.environment, text=True,
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=printed,
                )  # fmt: skip
        assert self._python.stdin
        assert self._python.stdout
        code = "\n" * block.line + self.names.ours(block.text)
        self._python.stdin.write(json.dumps({"code": code, "name": page}) + "\n")
        self._python.stdin.flush()
        answer = self._python.stdout.readline()
        problem = json.loads(answer) if answer else "the interpreter ended"
        assert not problem, f"{page}, line {block.line}:\n{problem}{(self.folder / 'python').read_text()}"

    def _bash(self, script: str, output: Path) -> subprocess.Popen[bytes]:
        with output.open("wb") as file:
            return subprocess.Popen(
                ["/bin/bash", "-c", f"set -a; . {self._state}; set +a\n{script}"],
                cwd=self._cwd, env=self.environment, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def _run(self, command: str) -> tuple[int, list[str]]:
        output = self.folder / "output"
        keep = f"_code=$?; export -p > {self._state}; pwd > {self.folder}/cwd; exit $_code"
        process = self._bash(f"set -a; (exit {self._last_code})\n{command}\n{keep}", output)
        job = Job(process, output)
        try:
            self._last_code = process.wait(COMMAND_S)
        finally:
            job.end(signal.SIGKILL)
        self._cwd = Path((self.folder / "cwd").read_text().rstrip("\n"))
        return self._last_code, job.lines()

    def _start(self, command: str, step: Step) -> list[str]:
        number = max(self._jobs, default=0) + 1
        output = self.folder / f"job{number}"
        job = self._jobs[number] = Job(self._bash(f"exec env {command}", output), output)

        def printed() -> list[str]:
            return [self.names.theirs(line) for line in job.lines()]

        def enough(lines: list[str]) -> bool:
            if self._fill:
                return any(line.startswith("READY") for line in lines) or job.process.poll() is not None
            return agrees(step.shown, lines, to_the_end=False) or job.process.poll() is not None

        with suppress(AssertionError):  # what is missing is reported by who compares
            until(printed, enough, FILL_S if self._fill else READY_S)
        return printed()

    def _kill(self, numbers: list[int]) -> None:
        time.sleep(TYPING_S)
        for number in numbers:
            job = self._jobs.pop(number)
            code = job.end()
            assert code == 0, f"%{number} ended with exit code {code}:\n" + "\n".join(job.lines())


def _environment(folder: Path) -> Mapping[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("EPICS_", "CAPROTO_", "PYTEST_", "STATE_"))}
    epics = epics_variables()
    del epics["EPICS_CAS_BEACON_ADDR_LIST"]  # libca warns at each start of a client: 127.0.0.1 is in two of its lists
    return inherited | epics | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder / "run"),
        "XDG_STATE_HOME": str(folder / "state-home"),
        COUNTERS_VARIABLE: str(folder / "counters"),
        "COLUMNS": "120",
        "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
