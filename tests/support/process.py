"""Commands in processes of their own: their lines can be waited for, and they end with the test."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psutil

from detectors.runtime import Runtime
from detectors.workers.commands import request
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60.0
"""Most time for a process to start, to say something or to end, on a machine that is busy, s."""
ANSWER_S = 20.0
"""Most time for an answer to a command, s."""


class Process:
    """``python WORDS...``, its output kept line by line. Context manager; what still runs at its end is killed.

    ``launcher`` are words before it, of a command that runs it elsewhere.
    """

    def __init__(
        self,
        *words: str,
        environment: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
        launcher: Sequence[str] = (),
    ) -> None:
        self.lines: list[str] = []
        self.timeout_s = timeout_s
        self.process = subprocess.Popen(
            [*launcher, sys.executable, *words],
            cwd=ROOT,
            env=dict(os.environ if environment is None else environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._kill_family()
        self.end(signal.SIGKILL)

    def _kill_family(self) -> None:
        """Kill it and what it started: after a test that failed, nothing of it runs on."""
        if self.process.poll() is not None:
            return
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until the output has a match; fail with the output, at once when the process has ended."""
        end = time.monotonic() + self.timeout_s
        while not (found := re.search(pattern, self.text, re.MULTILINE)):
            assert time.monotonic() < end, f"found no {pattern!r} in:\n{self.text}"
            if self.process.poll() is not None:
                self._reader.join()
                assert re.search(pattern, self.text, re.MULTILINE), (
                    f"ended with {self.process.returncode}:\n{self.text}"
                )
            time.sleep(0.005)
        return found

    def ready(self) -> Self:
        """Wait for the line READY."""
        try:
            self.wait_for("^READY")
        except BaseException:
            self.end(signal.SIGKILL)
            raise
        return self

    def wait(self) -> int:
        """Wait for the end, and return the exit code; a process that does not end in time is killed."""
        try:
            code = self.process.wait(self.timeout_s)
        except subprocess.TimeoutExpired:
            self._kill_family()
            self.process.wait()
            raise
        finally:
            self._reader.join()
        return code

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal unless it has ended, and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                self.lines.append(line.rstrip())


class WorkerProcess(Process):
    """One worker by the command line, ``receive CONFIG M00`` say; ``ask`` commands it past the IOC."""

    def __init__(self, prefix: str, worker: str, *words: str, environment: Mapping[str, str] | None = None) -> None:
        super().__init__("-m", "ioc", *words, environment=environment)
        self.runtime = Runtime(prefix)
        self.worker = worker

    def ask(self, command: str, timeout_s: float = ANSWER_S, **arguments: Any) -> Any:
        return request(self.runtime.command(self.worker), command, timeout_s, **arguments)

    def status(self) -> dict[str, Any]:
        return self.ask("status")

    def until(self, good: Callable[[dict[str, Any]], object], timeout_s: float = 20.0) -> dict[str, Any]:
        """Wait until a condition holds of the snapshot, and return that."""
        return until(self.status, good, timeout_s)


def run(*words: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``pebbledaq WORDS...`` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "ioc", *words],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
