"""Commands in processes of their own: their lines can be waited for, and they end with the test."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from detectors.runtime_names import RuntimeNames
from detectors.workers.commands import request
from sim.process import Process
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
ANSWER_S = 20.0
"""Most time for an answer to a command, s."""


class WorkerProcess(Process):
    """One worker by the command line, ``receive CONFIG M00`` say; ``ask`` commands it past the IOC."""

    def __init__(self, prefix: str, worker: str, *words: str, environment: Mapping[str, str] | None = None) -> None:
        super().__init__("-m", "ioc", *words, environment=environment)
        self.runtime = RuntimeNames(prefix)
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
