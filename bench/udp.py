"""UDP modules: ours against *limit* (the kernel alone) and *classic* (blocking recvmmsg and memcpy, in C).

*burst*: the packets of a frame come in one go, as detectors send them; *even*: spread over the period. All receive into as many
slots, and have been receiving for 0.2 s when the clock starts.
"""

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench.machine import pin
from bench.native import NoCompilerError
from bench.table import Row, median_ratio, spread
from bench.udp_rig import FRAME_GB, PER_FRAME, PORT, RECEIVER_CPU, Run, Udp
from bench.udp_worker import Worker
from detectors.geometry import GEOMETRIES

_TARGETS = {
    (1000, "burst"): (1.15, 0.7),
    (1000, "even"): (1.15, 0.7),
    (100, "burst"): (1.25, 0.7),
    (100, "even"): (1.25, 0.3),
}
"""What ours may cost of limit, and of classic, by frames a second and spacing."""
_SECONDS = {1000: 0.7, 100: 0.8}
"""How long a run takes after the clock has started, by frames a second."""
_WRITE_S = 0.7
"""The same for runs that are written to disk."""


def rows(*, quick: bool = False) -> Iterator[Row]:
    """Measure. ``quick`` takes one repeat of everything: to see that it runs."""
    with tempfile.TemporaryDirectory(prefix="pdb") as name:
        try:
            udp = Udp(Path(name))
        except NoCompilerError:
            yield Row("UDP: no C compiler, nothing to compare with", 0, "")
            return
        yield from _receive(udp, 1 if quick else 5)
        yield from _modules(udp, 1 if quick else 3)
        yield from _write(udp, 1 if quick else 5)


def _receive(udp: Udp, repeats: int) -> Iterator[Row]:
    cpus = (pin(RECEIVER_CPU),) if pin(RECEIVER_CPU) >= 0 else ()
    with Worker(PORT, cpus=cpus) as worker:
        for (rate, spacing), targets in _TARGETS.items():
            frames = round(rate * _SECONDS[rate])
            contenders = {
                "ours": lambda n=frames, hz=rate, how=spacing: udp.ours(worker, n, hz, how),
                "limit": lambda n=frames, hz=rate, how=spacing: udp.native("limit", n, hz, how),
                "classic": lambda n=frames, hz=rate, how=spacing: udp.native("classic", n, hz, how),
            }
            cost: dict[str, list[float]] = {name: [] for name in contenders}
            lost = dict.fromkeys(contenders, 0)
            for n in range(repeats):
                for name in list(contenders)[:: 1 if n % 2 else -1]:
                    run = contenders[name]()
                    cost[name].append(run.cpu_per_gb)
                    lost[name] += run.lost
            what = f"receive + assemble at {rate} frames/s, {spacing}"
            found = ", ".join(f"{name} {spread(values)}" for name, values in cost.items())
            note = f"{found} CPU s/GB; {lost['ours']} packets lost, limit {lost['limit']}, classic {lost['classic']}"
            for other, target in zip(("limit", "classic"), targets, strict=True):
                ratios = [a / b for a, b in zip(cost["ours"], cost[other], strict=True)]
                yield Row(
                    f"{what}, against {other}", statistics.median(ratios), "x", target, note=f"{spread(ratios)}; {note}"
                )
                note = ""


def _modules(udp: Udp, repeats: int) -> Iterator[Row]:
    """Compare the cost per GB of 1, 2, 4 and 8 receivers at 100 frames/s each; all eight run, those not sent to are idle."""
    frames, rate, first = 45, 100, 1
    costs: dict[int, list[float]] = {1: [], 2: [], 4: [], 8: []}
    lost = 0
    with ExitStack() as stack:
        # What a receiver is not sent in between is a gap to it, which it is to take as such.
        workers = [stack.enter_context(Worker(PORT + m, module=m, max_frame_gap=1_000_000)) for m in range(max(costs))]
        for repeat in range(repeats + 1):
            for modules, cost in costs.items():
                chosen = workers[:modules]
                placed = sum(worker.status["packets"]["placed"] for worker in chosen)
                before = sum(worker.cpu_s() for worker in chosen)
                udp.send(frames, rate, modules=modules, cpu=-1, first=first)
                time.sleep(0.1)
                used = sum(worker.cpu_s() for worker in chosen) - before
                statuses = [worker.settled(first + frames - 1) for worker in chosen]
                placed = sum(status["packets"]["placed"] for status in statuses) - placed
                first += frames
                if repeat:  # the first one warms
                    lost += modules * frames * PER_FRAME - placed
                    cost.append(used / (modules * frames * FRAME_GB))
    medians = {modules: statistics.median(cost) for modules, cost in costs.items()}
    note = ", ".join(f"{modules}: {medians[modules]:.2f} ({spread(cost)})" for modules, cost in costs.items())
    yield Row(
        "1, 2, 4, 8 modules at 100 frames/s, dearest against one",
        max(medians.values()) / medians[1],
        "x",
        1.15,
        note=f"medians of {repeats}, CPU s/GB {note}; {lost} packets lost",
    )


def _write(udp: Udp, repeats: int) -> Iterator[Row]:
    """Compare receiving and writing with receiving, at 1000 frames/s or what the disk takes."""
    folder = Path(tempfile.mkdtemp(prefix="pdb", dir=os.environ.get("BENCH_DISK", "/var/tmp")))
    try:
        disk_rate = direct_write_rate(folder)
        yield Row("the disk's own rate, O_DIRECT", disk_rate, "GB/s", note="dd in the same run")
        rate = int(min(1000, 0.8 * disk_rate / FRAME_GB))
        frame_bytes = GEOMETRIES["jungfrau"].frame_bytes
        if shutil.disk_usage(folder).free < 4 * repeats * rate * frame_bytes:
            yield Row("receive + write: too little free space", 0, "")
            return
        with ExitStack() as stack:
            alone, plain, checked = workers = [
                stack.enter_context(worker)
                for worker in (
                    Worker(PORT),
                    Worker(PORT + 1, disk=folder / "plain", crc=False),
                    Worker(PORT + 2, disk=folder / "checked"),
                )
            ]
            runs: dict[Worker, list[Run]] = {worker: [] for worker in workers}
            for n in range(repeats):
                for worker in workers[:: 1 if n % 2 else -1]:
                    runs[worker].append(udp.ours(worker, round(_WRITE_S * rate), rate, "burst", pinned=False))
        cost = {worker: [run.cpu_per_gb for run in found] for worker, found in runs.items()}
        for what, worker, target in (("without CRC", plain, 1.3), ("with CRC", checked, None)):
            lost = sum(run.lost for run in runs[worker])
            yield Row(
                f"receive + write {what}, against receive alone",
                median_ratio(cost[worker], cost[alone]),
                "x",
                target,
                note=f"at {rate} frames/s: {spread(cost[worker])} against {spread(cost[alone])} CPU s/GB; {lost} packets lost or not written",
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def direct_write_rate(folder: Path) -> float:
    """Return what the disk takes with O_DIRECT, GB/s."""
    nbytes = 1 << 30
    target = folder / "dd"
    command = ["dd", "if=/dev/zero", f"of={target}", "bs=4M", f"count={nbytes >> 22}", "conv=fdatasync"]
    for flags in (["oflag=direct"], []):
        started = time.monotonic()
        if not subprocess.run([*command, *flags], capture_output=True, check=False).returncode:
            break
    rate = nbytes / (time.monotonic() - started) / 1e9
    target.unlink()
    return rate
