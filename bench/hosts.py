"""32 modules on four hosts and one IOC: what they cost beside the pixels, and what a stream between hosts costs.

Hosts are network namespaces of one machine, made by root. A module sends frames of 64 KiB in 8 packets, which are written and published.
The simulated modules, the clients and all hosts share the processors. Streams are ZMQ's alone, messages of 1 MiB between two hosts.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench.processor import cores
from bench.table import Row, spread
from detectors.curve import make_keys
from sim.hosts.namespaces import SimulatedHosts, why_no_hosts
from sim.hosts.wide import HOSTS, MODULES
from sim.hosts.wide_rig import CONTROL, WideRig

RATE_HZ = 10
PARTS = 5
PART_S, QUICK_PART_S = 1.0, 0.5
SETTLE_S = 2.0
MESSAGES, MESSAGE_BYTES = 250, 1 << 20
REPEATS = 5
PORT = 5000


def rows(*, quick: bool) -> Iterator[Row]:
    """Yield start, processor time and memory of many workers, and the cost of streams."""
    if why := why_no_hosts():
        print(f"hosts: not measured: {why}")
        return
    with tempfile.TemporaryDirectory(prefix="pd") as folder:
        yield from _wide(Path(folder), QUICK_PART_S if quick else PART_S)
        for keys in (False, True):
            yield from _stream(Path(folder) if keys else None, 1 if quick else REPEATS)


def _wide(folder: Path, part_s: float) -> Iterator[Row]:
    began_s = time.monotonic()
    with WideRig(folder) as rig:
        workers_s = time.monotonic() - began_s
        ioc = rig.start_ioc(CONTROL)
        rig.until_all("Adopted_RBV", lambda adopted: adopted == "Yes")
        what = f"{len(MODULES)} receivers, {len(HOSTS)} keepers, a stream and the IOC"
        started_s = time.monotonic() - began_s
        yield Row(f"start of {what}", started_s, "s", 30, note=f"{workers_s:.1f} s until the workers are up")
        modules = [receiver.pid for receiver in rig.receivers.values()]
        rig.send(round((SETTLE_S + PARTS * part_s + 1) * RATE_HZ), rate_hz=RATE_HZ)
        time.sleep(SETTLE_S)
        of_ioc, of_stream, *of_modules = cores([ioc.pid, rig.stream.pid, *modules], PARTS, part_s)
        of_module = [statistics.mean(part) for part in zip(*of_modules, strict=True)]
        rig.wait_sent()
        for name, taken, target in (
            ("IOC", of_ioc, 0.08), ("a receiver", of_module, None), ("the assembler", of_stream, None)
        ):  # fmt: skip
            what = f"{name}, {len(MODULES)} modules at {RATE_HZ} Hz"
            yield Row(what, statistics.median(taken), "cores", target, note=spread(taken))
        for host in HOSTS:
            rig.until_written(host, lambda written: written == len(rig.pulses))
        own = statistics.median(psutil.Process(pid).memory_full_info().uss for pid in modules) / 1e6
        yield Row("memory of a receiver, its buffers included", own, "MB", note="private; the pebble is 5 MB of it")
        good = sum(good for good, _ in rig.images().values())
        yield Row("frames lost", len(rig.pulses) - good, "images", 0, note=f"of {len(rig.pulses)} whole images")


def _stream(folder: Path | None, repeats: int) -> Iterator[Row]:
    """Measure a stream between two hosts; with a folder its keys are there, or are made."""
    keys = folder / "stream-keys" if folder else None
    if keys:
        make_keys(keys, "server")
    with SimulatedHosts("left", "right") as hosts:
        found = [_one_stream(hosts, keys) for _ in range(repeats)]
    name = "a stream between two hosts, with keys" if keys else "a stream between two hosts"
    gb = MESSAGES * MESSAGE_BYTES / 1e9
    send, take, elapsed = (statistics.median(column) for column in zip(*found, strict=True))
    sent, taken = (spread(one / gb for one in column) for column in [*zip(*found, strict=True)][:2])
    yield Row(f"{name}: sender", send / gb, "CPU s/GB", note=sent)
    yield Row(f"{name}: taker", take / gb, "CPU s/GB", note=f"{taken}; {gb / elapsed:.2f} GB/s")


def _one_stream(hosts: SimulatedHosts, keys: Path | None) -> tuple[float, float, float]:
    """Return the processor time of the sender and of the taker, and how long it took, s."""
    words = [f"tcp://{hosts['left'].address}:{PORT}", str(MESSAGES), str(MESSAGE_BYTES), *([str(keys)] if keys else [])]
    with hosts["left"].start("-m", "bench.host_stream", "send", *words) as sending:
        taken = json.loads(hosts["right"].run("-m", "bench.host_stream", "take", *words).stdout)
        assert sending.wait() == 0, sending.text
        sent = json.loads(sending.lines[-1])
    return sent["cpu_s"], taken["cpu_s"], taken["elapsed_s"]
