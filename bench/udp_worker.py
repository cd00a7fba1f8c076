"""Our receiver under measurement."""

import time
from pathlib import Path
from typing import Any

from bench.worker_process import WorkerProcess

RING_COUNT = 128


class Worker(WorkerProcess):
    """``pebbledaq receive`` of JUNGFRAU modules; context manager."""

    def __init__(
        self,
        port: int,
        *,
        module: int = 0,
        cpus: tuple[int, ...] = (),
        disk: Path | None = None,
        crc: bool = True,
        slots: int = 2 * RING_COUNT,
        max_frame_gap: int = 100,
        queue: int = 100,
        ring: int = RING_COUNT,
    ) -> None:
        config = f"""
[dma]
cfgRxCount = {ring}
cfgSize = "1 MiB"
[pools]
pebbleBufCount = {slots}
[zmq]
high_water_mark = {queue}
[[udp]]
name = "M00"
expect_module_id = {module}
port = {port}
address = "127.0.0.1"
max_frame_gap = {max_frame_gap}
tuning = {{ cpus = {list(cpus)} }}
"""
        config += f'[disk]\nfolder = "{disk}"\nmin_free = "1 MiB"\ncrc = {str(crc).lower()}\n' if disk else ""
        super().__init__("receive", "udp.M00", config)
        self.port, self.writes = port, disk is not None
        self.sent = 0
        """Number of the last frame that was sent to it."""

    def until_subscribed(self) -> None:
        """Wait until the module stream has a subscriber."""
        while not self.status["zmq"]["subscribers"]:
            time.sleep(0.02)

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
