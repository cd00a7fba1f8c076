"""PVA images from a source that copies nothing, against bare TCP received by a C program from the same kind of source.

*monitor* is the whole process of ``pebbledaq monitor``: receive, match, publish in the pebble, tell. *p4p* is its Python client with
the allocator tuned and a queue of 8, *pvapy* the Python binding of the C++ client; both copy each image to a slot. All receive into
as many slots, faulted beforehand. The first images are not counted.
"""

import contextlib
import functools
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from bench.native import NoCompilerError, compile_program
from bench.pva_images import Source, own_environment, served_at
from bench.pva_monitor import SLOTS, Burst, Monitor
from bench.pva_receiver import WARM
from bench.table import Row, median_ratio, spread

REPEATS = 5
BURST_GB = 1.1
RAW_TARGET = 0.8
PEERS = {"p4p": None, "pvapy": 1.3}
"""Other clients and what the monitor's rate must be of theirs, where there is a goal."""
PEERS_MIB = (16, 74)

Contender = Callable[[], Burst]


def image_count(mib: int) -> int:
    return WARM + int(BURST_GB * 1e9 / (mib << 20))


class Alone:
    """Receivers that are a process for each burst: bare TCP, and other clients. Context manager."""

    def __init__(self, mib: int, environment: dict[str, str], raw_receiver: Path | None) -> None:
        self._nbytes, self._count, self._slots = mib << 20, image_count(mib), SLOTS[mib]
        self._environment, self._raw_receiver = environment, raw_receiver
        self._raw = Source("raw", "-", self._nbytes, environment)
        self._pva = Source("pva-each", "BENCH:EACH", self._nbytes, environment)

    def __enter__(self) -> Self:
        self._raw.ready()
        self._pva.ready()
        return self

    def __exit__(self, *exc: object) -> None:
        self._raw.close()
        self._pva.close()

    def raw(self) -> Burst:
        """Receive the bare arrays, in C, or in Python when there is no compiler."""
        if self._raw_receiver is None:
            return self._burst(self._raw, self._python("raw", self._raw))
        command = [self._raw_receiver, self._raw.port, self._nbytes, self._count, self._slots, WARM]
        return self._burst(self._raw, command)

    def client(self, name: str) -> Burst:
        """Receive with "p4p" or "pvapy"."""
        return self._burst(self._pva, self._python(name, self._pva))

    def _python(self, name: str, source: Source) -> list[object]:
        module = [sys.executable, "-m", "bench.pva_receiver"]
        return [*module, name, source.pv, self._nbytes, self._count, self._slots]

    def _burst(self, source: Source, command: list[object]) -> Burst:
        environment = {**served_at(self._environment, [source.port]), "EPICS_PVA_SERVER_PORT": str(source.port)}
        with subprocess.Popen(
            [str(word) for word in command], env=environment, stdout=subprocess.PIPE, text=True
        ) as receiving:
            source.prepare(self._count)
            source.go()
            source.sent()
            out, _ = receiving.communicate(timeout=60)
        found = json.loads(out)
        assert found, f"{command[2]} saw no last image"
        return Burst(found["mb_per_s"], found["cpu_per_gb"], int(found["missed"]))


@contextlib.contextmanager
def monitor(mib: int, environment: dict[str, str]) -> Iterator[Contender]:
    """Run a monitor and its source, and yield what sends it a burst."""
    with (
        Source("pva", "BENCH:CAM", mib << 20, environment).ready() as source,
        Monitor(mib, source.pv, served_at(environment, [source.port])) as worker,
    ):
        worker.prime(source)
        yield lambda: worker.take(source, image_count(mib))


def rows(*, quick: bool = False) -> Iterator[Row]:
    """Measure. ``quick`` takes one repeat of everything."""
    peers = [name for name in PEERS if importlib.util.find_spec("pvaccess" if name == "pvapy" else name)]
    for name in PEERS.keys() - peers:
        yield Row(f"{name} is not installed: nothing to compare with", 0, "")
    with tempfile.TemporaryDirectory(prefix="pdb") as folder:
        try:
            raw_receiver = compile_program("images", Path(folder))
        except NoCompilerError:
            raw_receiver = None
            yield Row("no C compiler: bare TCP is received by Python", 0, "")
        for mib in SLOTS:
            yield from _of_size(mib, 1 if quick else REPEATS, raw_receiver, peers if mib in PEERS_MIB else [])


def _of_size(mib: int, repeats: int, raw_receiver: Path | None, peers: list[str]) -> Iterator[Row]:
    environment = own_environment()
    with (
        monitor(mib, environment) as take,
        Alone(mib, environment, raw_receiver) as alone,
    ):
        turns: dict[str, Contender] = {"raw TCP": alone.raw, "monitor": take}
        turns |= {name: functools.partial(alone.client, name) for name in peers}
        found: dict[str, list[Burst]] = {name: [] for name in turns}
        for n in range(repeats):
            for name in list(turns)[:: -1 if n % 2 else 1]:
                found[name].append(turns[name]())
    for name, bursts in found.items():
        rates = [b.mb_per_s for b in bursts]
        cost = statistics.median(b.cpu_per_gb for b in bursts)
        note = f"{cost:.2f} CPU s/GB, {spread(rates)} MB/s, {sum(b.lost for b in bursts)} lost"
        yield Row(f"{mib} MiB: {name}", statistics.median(rates), "MB/s", note=note)
    for name, target in {"raw TCP": RAW_TARGET, **PEERS}.items():
        if name in found:
            yield _ratio(mib, name, target, found["monitor"], found[name])


def _ratio(mib: int, name: str, target: float | None, ours: list[Burst], theirs: list[Burst]) -> Row:
    rates = [b.mb_per_s for b in ours], [b.mb_per_s for b in theirs]
    ratios = [a / b for a, b in zip(*rates, strict=True)]
    what = f"{mib} MiB: monitor against {name}, rate"
    return Row(what, median_ratio(*rates), "x", target, at_most=False, note=spread(ratios))
