"""PVA images from a source that copies nothing, against bare TCP received by a C program from the same kind of source.

*direct* and *p4p untuned* are the two clients alone, which receive into the same few slots; *monitor* is the whole process of
``pebbledaq monitor``: receive into transition slots, match, copy to the pebble, and with a disk, write. With 4 PVs each has
a server of its own and they make one event. All rates count image bytes. Medians of three.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.native import NoCompilerError, compile_program
from bench.pva_images import Source, own_environment, served_at
from bench.pva_monitor import SLOTS, Burst, Monitor
from bench.pva_receiver import WARM
from bench.table import Row, median_ratio, spread

SIZES_MIB = (1, 4, 16, 74)
LARGEST = SIZES_MIB[-1]
PVS = (1, 4)
BURST_GB = 1.2
LEAST_IMAGES = 24
DISK_IMAGES = 10
REPEATS = 3

Contender = Callable[[], Burst]


def image_count(mib: int) -> int:
    return max(LEAST_IMAGES, int(BURST_GB * 1e9 / (mib << 20)))


class Alone:
    """Receivers that are a process for each burst: bare TCP, and the clients without the monitor around them."""

    def __init__(self, mib: int, environment: dict[str, str], raw_receiver: Path | None) -> None:
        self._nbytes, self._count = mib << 20, image_count(mib)
        self._environment, self._raw_receiver = environment, raw_receiver

    def raw(self) -> Burst:
        """Receive the bare arrays, in C, or in Python when there is no compiler."""
        with Source("raw", "-", self._nbytes, self._environment).ready() as source:
            if self._raw_receiver is None:
                return self._burst(source, self._python("raw", source))
            return self._burst(
                source, [self._raw_receiver, source.port, self._nbytes, self._count, SLOTS[self._nbytes >> 20], WARM]
            )

    def client(self, name: str) -> Burst:
        """Receive with "direct" or "p4p-untuned"."""
        with Source("pva", f"BENCH:{name}", self._nbytes, self._environment).ready() as source:
            return self._burst(source, self._python(name, source))

    def _python(self, name: str, source: Source) -> list[object]:
        return [sys.executable, "-m", "bench.pva_receiver", name, source.pv, self._nbytes, self._count]

    def _burst(self, source: Source, command: list[object]) -> Burst:
        environment = {**served_at(self._environment, [source.port]), "EPICS_PVA_SERVER_PORT": str(source.port)}
        with subprocess.Popen(
            [str(word) for word in command], env=environment, stdout=subprocess.PIPE, text=True
        ) as receiving:
            source.prepare(self._count)
            source.go()
            out, _ = receiving.communicate(timeout=60)
        found = json.loads(out)
        assert found, f"{command[2]} saw no last image"
        return Burst(found["mb_per_s"], found["cpu_per_gb"], int(found["missed"]))


@contextlib.contextmanager
def monitor(mib: int, pvs: int, environment: dict[str, str], *, disk: Path | None = None) -> Iterator[Contender]:
    """Run a monitor and its sources, and yield what sends it a burst."""
    with contextlib.ExitStack() as stack:
        sources = [stack.enter_context(Source("pva", f"BENCH:{n}", mib << 20, environment)) for n in range(pvs)]
        ports = [source.ready().port for source in sources]
        names = [source.pv for source in sources]
        worker = stack.enter_context(Monitor(mib, names, served_at(environment, ports), disk=disk))
        worker.prime(sources)
        count = DISK_IMAGES if disk else image_count(mib) // pvs
        yield lambda: worker.take(sources, count)


def rows(*, quick: bool = False) -> Iterator[Row]:
    """Measure. ``quick`` takes one repeat of everything."""
    with tempfile.TemporaryDirectory(prefix="pdb") as folder:
        try:
            raw_receiver = compile_program("images", Path(folder))
        except NoCompilerError:
            raw_receiver = None
            yield Row("no C compiler: bare TCP is received by Python", 0, "")
        for mib in SIZES_MIB:
            yield from _of_size(mib, 1 if quick else REPEATS, raw_receiver)


def _of_size(mib: int, repeats: int, raw_receiver: Path | None) -> Iterator[Row]:
    """Take the contenders in turns, so that a busy moment meets all alike."""
    environment = own_environment()
    alone = Alone(mib, environment, raw_receiver)
    with contextlib.ExitStack() as stack:
        turns: dict[str, Contender] = {"raw TCP": alone.raw, "direct": lambda: alone.client("direct")}
        for pvs in PVS:
            turns[f"monitor, {pvs} PV"] = stack.enter_context(monitor(mib, pvs, environment))
        if mib == LARGEST:
            turns["p4p untuned"] = lambda: alone.client("p4p-untuned")
            disk = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="pdb", dir=os.environ.get("BENCH_DISK", "/var/tmp"))
            )
            turns["monitor, 1 PV, disk"] = stack.enter_context(monitor(mib, 1, environment, disk=Path(disk)))
        found: dict[str, list[Burst]] = {name: [] for name in turns}
        for _ in range(repeats):
            for name, take in turns.items():
                found[name].append(take())
    for name, bursts in found.items():
        rates = [b.mb_per_s for b in bursts]
        cost = statistics.median(b.cpu_per_gb for b in bursts)
        note = f"{cost:.2f} CPU s/GB, {spread(rates)} MB/s, {sum(b.lost for b in bursts)} lost"
        yield Row(f"{mib} MiB: {name}", statistics.median(rates), "MB/s", note=note)
    yield from _ratios(mib, found)


def _ratios(mib: int, found: dict[str, list[Burst]]) -> Iterator[Row]:
    rate = {name: [b.mb_per_s for b in bursts] for name, bursts in found.items()}
    cost = {name: [b.cpu_per_gb for b in bursts] for name, bursts in found.items()}
    largest = mib == LARGEST

    def at_least(ours: str, theirs: str, target: float | None) -> Row:
        what = f"{mib} MiB: {ours} against {theirs}, rate"
        return Row(what, median_ratio(rate[ours], rate[theirs]), "x", target, at_most=False)

    def adds(what: str, more: str, less: str) -> Row:
        extra = statistics.median(b - a for a, b in zip(cost[less], cost[more], strict=True))
        return Row(f"{mib} MiB: {what} adds", extra, "CPU s/GB")

    yield at_least("monitor, 1 PV", "raw TCP", 0.8 if largest else None)
    yield at_least("monitor, 4 PV", "raw TCP", None)
    if largest:
        yield at_least("monitor, 1 PV", "p4p untuned", 2.5)
    yield Row(
        f"{mib} MiB: receive into transition (direct) against raw TCP, CPU per GB",
        median_ratio(cost["direct"], cost["raw TCP"]),
        "x",
        1.3 if largest else None,
    )
    yield adds("transition -> pebble", "monitor, 1 PV", "direct")
    if largest:
        yield adds("the disk", "monitor, 1 PV, disk", "monitor, 1 PV")
