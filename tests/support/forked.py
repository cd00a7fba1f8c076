"""A command in a process of its own that has its modules already: a fork of a process that has imported them.

For what must not be done in the process of the tests (locks, signals, shared memory, real-time priority) and need not start anew.
"""

import multiprocessing
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PRELOADED: Final = ["ioc.cli", "ioc.server", "detectors.workers.receiver", "detectors.workers.monitor.worker"]
_FORKS: Final = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(PRELOADED)


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


def run_forked(words: list[str], environment: Mapping[str, str], *, timeout_s: float) -> Ended:
    """Run ``pebbledaq`` until it ends by itself. Raises TimeoutError, and ends it, when it does not."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = _FORKS.Process(target=_run, args=(words, dict(environment), out, err))
        process.start()
        process.join(timeout_s)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"{words}: still runs after {timeout_s} s; it said: {err.read_text()}")
        code = process.exitcode
        process.close()
        return Ended(code, out.read_text(), err.read_text())


def _run(words: list[str], environment: Mapping[str, str], out: Path, err: Path) -> None:
    from ioc.cli import cli

    for number, path in ((1, out), (2, err)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)
    cli.main(words, prog_name="pebbledaq")
