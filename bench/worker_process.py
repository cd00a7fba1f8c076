"""One of our workers, as it runs in production, under measurement: its process, its status and its processor time."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from bench.processor import cpu_s
from detectors.runtime_names import COUNTERS_VARIABLE, RuntimeNames
from detectors.workers.commands import request


class WorkerProcess:
    """``pebbledaq VERB`` with a configuration of its own and a runtime folder of its own; context manager.

    ``config`` is what follows the [detector] of the configuration. It is up when the constructor returns.
    """

    def __init__(self, verb: str, worker: str, config: str, environment: Mapping[str, str] = os.environ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="pdb", dir="/tmp"))
        self.worker = worker
        prefix = f"BENCH{os.getpid()}:{self._folder.name}:"
        file = self._folder / "bench.toml"
        file.write_text(f'[detector]\nname = "BENCH"\nprefix = "{prefix}"\n{config}')
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ioc", verb, str(file)],
            env={**environment, "XDG_RUNTIME_DIR": str(self._folder), COUNTERS_VARIABLE: str(self._folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout
        assert self.process.stdout.readline().startswith("READY")
        before = os.environ.get("XDG_RUNTIME_DIR")
        os.environ["XDG_RUNTIME_DIR"] = str(self._folder)
        try:
            runtime = RuntimeNames(prefix)
            self.command, self.frames = runtime.command(worker), runtime.frames(worker)
            self.notify = runtime.notify(worker)
        finally:
            if before is None:
                del os.environ["XDG_RUNTIME_DIR"]
            else:
                os.environ["XDG_RUNTIME_DIR"] = before

    @property
    def status(self) -> dict[str, Any]:
        return request(self.command, "status", 10.0)

    def cpu_s(self) -> float:
        """Return the processor time of all threads so far, s."""
        return cpu_s(self.process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.terminate()
        self.process.communicate(timeout=20)
        shutil.rmtree(self._folder)
