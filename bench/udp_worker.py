"""Our receiver, as it runs in production, under measurement: the worker process, its status and its processor time."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

from detectors.runtime import Runtime
from detectors.workers.control import request

RING_COUNT = 64


class Worker:
    """``pebbledaq receive`` of JUNGFRAU modules; context manager."""

    def __init__(self, port: int, *, module: int = 0, cpus: tuple[int, ...] = (), disk: Path | None = None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="pdb", dir="/tmp"))
        self._environment = {**os.environ, "XDG_RUNTIME_DIR": str(self._folder)}
        self.worker = "udp.M00"
        prefix = f"BENCH{os.getpid()}:{port}:"
        config = self._folder / "bench.toml"
        config.write_text(
            f"""
[detector]
name = "BENCH"
prefix = "{prefix}"
[dma]
cfgRxCount = {RING_COUNT}
cfgSize = "1 MiB"
[[udp]]
name = "M00"
module_id = {module}
port = {port}
address = "127.0.0.1"
tuning = {{ cpus = {list(cpus)} }}
"""
            + (f'[disk]\nfolder = "{disk}"\nmin_free = "1 MiB"\n' if disk else "")
        )
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ioc", "receive", str(config)],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout
        assert self.process.stdout.readline().startswith("READY")
        before = os.environ.get("XDG_RUNTIME_DIR")
        os.environ["XDG_RUNTIME_DIR"] = str(self._folder)
        try:
            runtime = Runtime(prefix)
            self.command, self.frames = runtime.command(self.worker), runtime.frames(self.worker)
        finally:
            if before is None:
                del os.environ["XDG_RUNTIME_DIR"]
            else:
                os.environ["XDG_RUNTIME_DIR"] = before

    @property
    def status(self) -> dict[str, Any]:
        return request(self.command, "status", 10.0)

    def cpu_s(self) -> float:
        """Return the processor time of all threads so far, ns-precise."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def settled(self, frames: int, timeout_s: float = 20) -> dict[str, Any]:
        """Wait until frames with so high a number have come, or nothing comes any more; return the status."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            status = self.status
            over = status["frame_index"] >= frames or status["state"] == "Stalled"
            if over and not status["disk"]["queued"] and not status["zmq"]["queued"]:
                return status
            time.sleep(0.05)
        raise TimeoutError(f"the receiver did not settle: {status}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.terminate()
        self.process.communicate(timeout=20)
        for path in sorted(self._folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        self._folder.rmdir()
