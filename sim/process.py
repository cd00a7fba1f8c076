"""A Python process whose output is kept line by line, and which ends with what made it."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

STARTED_IN: Final = Path.cwd()
"""Where this program was started: processes find its packages there."""
TIMEOUT_S: Final = 60.0
"""Most time for a process to start, to say something or to end, on a machine that is busy, s."""


def children(pid: int) -> list[int]:
    """Return the processes that a process has started; none of one that has ended."""
    try:
        tasks = [*Path(f"/proc/{pid}/task").iterdir()]
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _descendants(pid: int) -> Iterator[int]:
    for child in children(pid):
        yield child
        yield from _descendants(child)


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
            cwd=STARTED_IN,
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
        family = [*_descendants(self.process.pid)]
        self.process.kill()
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def text(self) -> str:
        """All its output so far."""
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
