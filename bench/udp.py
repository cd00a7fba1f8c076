"""UDP modules: ours against *limit* (the kernel alone) and *classic* (blocking recvmmsg and memcpy, in C).

Everything is a ratio of runs made one right after the other; machines differ and change, ratios less so.
"""

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.machine import pin
from bench.native import NoCompilerError, Program, compile_program
from bench.table import Row, median_ratio, spread
from bench.udp_worker import RING_COUNT, Worker
from detectors.geometry import GEOMETRIES
from detectors.sources.pace import SHORTEST_S, TARGET_PACKETS

PORT = 50900
GEOMETRY = GEOMETRIES["jungfrau"]
PER_FRAME = GEOMETRY.packets_per_frame
FRAME_GB = GEOMETRY.frame_bytes / 1e9
RCVBUF = RING_COUNT << 20
SLOTS = 2 * RING_COUNT
SENDER_CPU, RECEIVER_CPU = 0, 1
LONGEST_S = 0.05
"""Longest tick that so large a buffer allows."""


@dataclass(frozen=True)
class Run:
    """What one run of a receiver cost, and what it lost."""

    cpu_per_gb: float
    lost: int
    wall_s: float = 0.0


class Udp:
    def __init__(self, folder: Path) -> None:
        self.sender = compile_program("sender", folder)
        self.receiver = compile_program("receiver", folder)

    def send(self, frames: int, rate: float, *, modules: int = 1, cpu: int | None = None, first: int = 1) -> float:
        """Send frames with numbers from ``first`` on, and return how long it took, s."""
        core = pin(SENDER_CPU) if cpu is None else cpu
        return Program(self.sender, PORT, modules, frames, rate, core, first, ready=False).result()["wall_s"]

    def native(self, mode: str, frames: int, rate: float) -> Run:
        """Run limit, which looks at its socket as often as ours, or classic."""
        tick_s = min(max(TARGET_PACKETS / (rate * PER_FRAME), SHORTEST_S), LONGEST_S)
        packets = frames * PER_FRAME
        receiver = Program(
            self.receiver, mode, PORT, SLOTS, packets, RCVBUF, round(tick_s * 1e6), pin(RECEIVER_CPU), ready=True
        )
        wall = self.send(frames, rate)
        found = receiver.result()
        gb = found["packets"] / PER_FRAME * FRAME_GB
        return Run(found["cpu_s"] / max(gb, 1e-9), packets - found["packets"], wall)

    def ours(
        self, frames: int, rate: float, *, disk: Path | None = None, listen: bool = False, pinned: bool = True
    ) -> Run:
        """Run our receiver; with ``disk`` it writes, with ``listen`` it has one subscriber.

        Writing and publishing have threads of their own: compare with runs that are not ``pinned`` to one processor.
        """
        cpus = (pin(RECEIVER_CPU),) if pin(RECEIVER_CPU) >= 0 and pinned else ()
        with Worker(PORT, cpus=cpus, disk=disk) as worker, contextlib.ExitStack() as stack:
            if listen:
                stack.enter_context(_subscriber(worker.frames))
                while not worker.status["zmq"]["subscribers"]:
                    time.sleep(0.02)
            before = worker.cpu_s()
            wall = self.send(frames, rate, cpu=None if pinned else -1)
            status = worker.settled(frames)
            used = worker.cpu_s() - before
        received = status["packets"]["placed"]
        lost = frames * PER_FRAME - received
        for name, wanted in (("disk", disk is not None), ("zmq", listen)):
            if wanted:
                lost += (frames - status[name]["written"]) * PER_FRAME
        return Run(used / max(received / PER_FRAME * FRAME_GB, 1e-9), lost, wall)


@contextlib.contextmanager
def _subscriber(address: str) -> Iterator[None]:
    """One process that takes every message and does nothing with it."""
    program = f"""
import zmq
socket = zmq.Context().socket(zmq.SUB)
socket.subscribe(b"")
socket.connect({address!r})
while True:
    socket.recv_multipart(copy=False)
"""
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def rows(*, quick: bool = False) -> Iterator[Row]:
    """Measure. ``quick`` takes one repeat of everything: to see that it runs."""
    repeats = 1 if quick else 5
    with tempfile.TemporaryDirectory(prefix="pdb") as name:
        try:
            udp = Udp(Path(name))
        except NoCompilerError:
            yield Row("UDP: no C compiler, nothing to compare with", 0, "")
            return
        yield from _receive(udp, repeats)
        yield from _largest_rate(udp, 1 if quick else 2)
        yield from _publish(udp, min(repeats, 2))
        yield from _modules(udp, min(repeats, 3))
        yield from _write(udp, min(repeats, 2))


def _receive(udp: Udp, repeats: int) -> Iterator[Row]:
    for rate, frames in ((1000, 1200), (100, 150)):
        limit: list[float] = []
        classic: list[float] = []
        ours: list[float] = []
        lost = 0
        for _ in range(repeats):
            limit.append(udp.native("limit", frames, rate).cpu_per_gb)
            run = udp.ours(frames, rate)
            ours.append(run.cpu_per_gb)
            lost += run.lost
            classic.append(udp.native("classic", frames, rate).cpu_per_gb)
        what = f"receive + assemble at {rate} frames/s"
        note = f"ours {spread(ours)}, limit {spread(limit)}, classic {spread(classic)} CPU s/GB; {lost} packets lost"
        if rate == 1000:
            yield Row(f"{what}, against limit", median_ratio(ours, limit), "x", 1.25, note=note)
            yield Row(f"{what}, against classic", median_ratio(ours, classic), "x", 0.8)
        else:
            yield Row(f"{what}, against classic", median_ratio(ours, classic), "x", 0.4, note=note)
            yield Row(f"{what}, against limit", median_ratio(ours, limit), "x")


def _largest_rate(udp: Udp, repeats: int) -> Iterator[Row]:
    """Find the largest rate without loss: raised in steps until packets are lost or the sender cannot keep up."""
    found: dict[str, list[float]] = {"classic": [], "ours": []}
    for _ in range(repeats):
        for name, rates in found.items():
            rates.append(0.0)
            for rate in (1200, 1500, 1800, 2100, 2400):
                frames = rate // 2
                run = udp.ours(frames, rate) if name == "ours" else udp.native("classic", frames, rate)
                if run.lost:
                    break
                rates[-1] = max(rates[-1], frames / run.wall_s)
                if frames / run.wall_s < 0.95 * rate:
                    break
    note = f"ours {spread(found['ours'])}, classic {spread(found['classic'])} frames/s of one module, bursts of 0.5 s"
    what = "largest loss-free rate, against classic"
    if not all(found["classic"]):
        yield Row(
            what, statistics.median(found["ours"]), "frames/s", note=f"classic lost packets at every rate; {note}"
        )
        return
    yield Row(what, median_ratio(found["ours"], found["classic"]), "x", 1.0, at_most=False, note=note)


def _publish(udp: Udp, repeats: int) -> Iterator[Row]:
    """Compare what one subscriber adds with what ZMQ alone takes to send as much."""
    frames, rate = 400, 200
    extra, bare, lost = [], [], 0
    for _ in range(repeats):
        alone = udp.ours(frames, rate, pinned=False).cpu_per_gb
        run = udp.ours(frames, rate, listen=True, pinned=False)
        extra.append(run.cpu_per_gb - alone)
        lost += run.lost
        bare.append(_bare_publisher(frames, rate))
    note = f"at {rate} frames/s, {spread(extra)} CPU s/GB; {lost // PER_FRAME} frames lost"
    yield Row("publishing to one subscriber adds", statistics.median(extra), "CPU s/GB", note=note)
    yield Row(
        "the same, against a bare ZMQ publisher",
        median_ratio(extra, bare),
        "x",
        note=f"which takes {spread(bare)} CPU s/GB",
    )


def _bare_publisher(frames: int, rate: float) -> float:
    """Return the CPU s/GB that ZMQ alone takes to copy and send frames to one subscriber."""
    with tempfile.TemporaryDirectory(prefix="pdb", dir="/tmp") as folder:
        address = f"ipc://{folder}/frames"
        publisher = Program(sys.executable, "-m", "bench.bare_publisher", address, frames, rate, ready=True)
        with _subscriber(address):
            return publisher.result()["cpu_per_gb"]


def _modules(udp: Udp, repeats: int) -> Iterator[Row]:
    """Compare the cost per GB of 1, 2, 4 and 8 receivers at 100 frames/s each; all eight run, those not sent to are idle."""
    frames, rate, first = 100, 100, 1
    costs: dict[int, list[float]] = {1: [], 2: [], 4: [], 8: []}
    lost = 0
    with contextlib.ExitStack() as stack:
        # What a receiver is not sent in between is a gap to it, which it is to take as such.
        workers = [stack.enter_context(Worker(PORT + m, module=m, max_frame_gap=1_000_000)) for m in range(max(costs))]
        for _ in range(repeats):
            for modules, cost in costs.items():
                chosen = workers[:modules]
                placed = sum(worker.status["packets"]["placed"] for worker in chosen)
                before = sum(worker.cpu_s() for worker in chosen)
                udp.send(frames, rate, modules=modules, cpu=-1, first=first)
                statuses = [worker.settled(first + frames - 1) for worker in chosen]
                used = sum(worker.cpu_s() for worker in chosen) - before
                placed = sum(status["packets"]["placed"] for status in statuses) - placed
                lost += modules * frames * PER_FRAME - placed
                cost.append(used / (modules * frames * FRAME_GB))
                first += frames
    medians = {modules: statistics.median(cost) for modules, cost in costs.items()}
    note = ", ".join(f"{modules}: {cost:.2f}" for modules, cost in medians.items())
    yield Row(
        "1, 2, 4, 8 modules at 100 frames/s, dearest against one",
        max(medians.values()) / medians[1],
        "x",
        1.15,
        note=f"CPU s/GB {note}; {lost} packets lost",
    )


def _write(udp: Udp, repeats: int) -> Iterator[Row]:
    """Compare receiving and writing with receiving, at 1000 frames/s or what the disk takes."""
    folder = Path(tempfile.mkdtemp(prefix="pdb", dir=os.environ.get("BENCH_DISK", "/var/tmp")))
    try:
        disk_rate = direct_write_rate(folder)
        rate = int(min(1000, 0.8 * disk_rate / FRAME_GB))
        frames = rate
        if shutil.disk_usage(folder).free < 4 * frames * GEOMETRY.frame_bytes:
            yield Row("receive + write: too little free space", 0, "")
            return
        alone, written, lost = [], [], 0
        for _ in range(repeats):
            alone.append(udp.ours(frames, rate, pinned=False).cpu_per_gb)
            run = udp.ours(frames, rate, disk=folder, pinned=False)
            shutil.rmtree(folder)
            folder.mkdir()
            written.append(run.cpu_per_gb)
            lost += run.lost
        yield Row("the disk's own rate, O_DIRECT", disk_rate, "GB/s", note="dd in the same run")
        yield Row(
            "receive + write, against receive alone",
            median_ratio(written, alone),
            "x",
            1.5,
            note=f"at {rate} frames/s: {spread(written)} against {spread(alone)} CPU s/GB; {lost} packets lost",
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def direct_write_rate(folder: Path) -> float:
    """Return what the disk takes with O_DIRECT, GB/s."""
    nbytes = 512 << 20
    target = folder / "dd"
    started = time.monotonic()
    flags = ["oflag=direct"]
    command = ["dd", "if=/dev/zero", f"of={target}", "bs=4M", f"count={nbytes >> 22}", "conv=fdatasync"]
    if subprocess.run([*command, *flags], capture_output=True, check=False).returncode:
        started = time.monotonic()
        subprocess.run(command, capture_output=True, check=True)
    rate = nbytes / (time.monotonic() - started) / 1e9
    target.unlink()
    return rate
