"""One run of a receiver of UDP modules in its steady state: ours, or one of the C programs that ours is compared with."""

import time
from dataclasses import dataclass
from pathlib import Path

from bench.machine import pin
from bench.native import Program, compile_program
from bench.udp_worker import RING_COUNT, Worker
from detectors.geometry import GEOMETRIES
from detectors.sources.pace import SHORTEST_S, TARGET_PACKETS

PORT = 50900
PER_FRAME = GEOMETRIES["jungfrau"].packets_per_frame
FRAME_GB = GEOMETRIES["jungfrau"].frame_bytes / 1e9
SENDER_CPU, RECEIVER_CPU = 0, 1

_NATIVE_PORT = PORT + 20
_RCVBUF = RING_COUNT << 20
_SLOTS = 2 * RING_COUNT
"""Frames that the C programs receive into: as many as a worker has unless it is given more."""
_LONGEST_S = 0.05
"""Longest tick that so large a buffer allows."""
_WARM_S = 0.2
"""What is sent before the clock starts: slots are touched for the first time, and the tick finds its length."""


@dataclass(frozen=True)
class Run:
    """What one run of a receiver cost, and how many packets it lost."""

    cpu_per_gb: float
    lost: int


class Udp:
    """The sender and the receivers in C, compiled into a folder."""

    def __init__(self, folder: Path) -> None:
        self._sender = compile_program("sender", folder)
        self._receiver = compile_program("receiver", folder)

    def send(
        self,
        frames: int,
        rate: float,
        spacing: str = "even",
        *,
        port: int = PORT,
        modules: int = 1,
        cpu: int,
        first: int,
    ) -> None:
        """Send frames with numbers from ``first`` on to as many modules; ``cpu`` -1: on any processor."""
        sender = Program(self._sender, spacing, port, modules, frames, rate, cpu, first, ready=False)
        sender.result(timeout_s=30 + 2 * frames / rate)

    def native(self, mode: str, frames: int, rate: float, spacing: str) -> Run:
        """Run limit, which looks at its socket as often as ours, or classic."""
        tick_s = min(max(TARGET_PACKETS / (rate * PER_FRAME), SHORTEST_S), _LONGEST_S)
        warm = round(_WARM_S * rate)
        counts = warm * PER_FRAME, frames * PER_FRAME
        where = _RCVBUF, round(tick_s * 1e6), pin(RECEIVER_CPU)
        receiver = Program(self._receiver, mode, _NATIVE_PORT, _SLOTS, *counts, *where, ready=True)
        self.send(warm + frames, rate, spacing, port=_NATIVE_PORT, cpu=pin(SENDER_CPU), first=1)
        found = receiver.result()
        return Run(found["cpu_s"] / max(found["packets"] / PER_FRAME * FRAME_GB, 1e-9), sum(counts) - found["total"])

    def ours(self, worker: Worker, frames: int, rate: float, spacing: str, *, pinned: bool = True) -> Run:
        """Send to a worker that is up, which may have been sent to before.

        Writing and publishing have threads of their own: not ``pinned`` they are not kept from the sender's processor.
        """
        cpu, warm = pin(SENDER_CPU) if pinned else -1, round(_WARM_S * rate)
        where = {"port": worker.port, "cpu": cpu}
        self.send(warm, rate, spacing, first=worker.sent + 1, **where)
        worker.sent += warm
        before = worker.settled(worker.sent)
        used = worker.cpu_s()
        self.send(frames, rate, spacing, first=worker.sent + 1, **where)
        time.sleep(2 * _LONGEST_S)
        used = worker.cpu_s() - used
        worker.sent += frames
        after = worker.settled(worker.sent)
        placed = after["packets"]["placed"] - before["packets"]["placed"]
        written = after["disk"]["written"] - before["disk"]["written"]
        lost = frames * PER_FRAME - (min(placed, written * PER_FRAME) if worker.writes else placed)
        return Run(used / max(placed / PER_FRAME * FRAME_GB, 1e-9), lost)
