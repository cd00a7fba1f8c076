"""One compression for the full stream, a capture and a PV, against each on its own: processor time of the three workers.

Images of one module, 1 MiB at 200 Hz, with 1 photon a pixel (2.6 bit); a PV shows 100 a second. The stream compresses in both cases; the
capture and the PV take its images, or have a configuration in which they are not compressed and do it themselves. The workers of
both are started in the order one, apart, apart, one, and measured in the steady state.
"""

import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from bench.player import FRAME_BYTES, PREFIX, Player, cpu_s
from bench.pva_images import own_environment
from bench.stream import CONSUMER
from bench.table import Row, spread
from detectors.workers.commands import request

RATE_HZ = 200.0
SECONDS = 1.0
WARM_S = 0.5
REPEATS = 2
"""Of each start, of which there are two for each contender."""

COMPRESSED = 'compression = "bslz4"\n'
SECTIONS = f"""[stream]
full = "ipc://{{folder}}/full"
high_water_mark = 40
{COMPRESSED}[hdf5]
folder = "{{folder}}"
{COMPRESSED}[images]
image_hz = 100
codec = "bslz4"
"""

CLIENT = """
import sys
from p4p.client.thread import Context
with Context("pva", nt=False) as client:
    subscription = client.monitor(sys.argv[1], lambda value: None)
    print("up", flush=True)
    sys.stdin.read()
"""


@dataclass
class Way:
    """One way, and what it costs."""

    config: Path
    """Of the capture and the PV."""
    cpu_s_per_gb: list[float] = field(default_factory=list[float])
    compressions: list[float] = field(default_factory=list[float])
    """Compressions of an image."""
    lost: int = 0


def rows(*, quick: bool) -> Iterator[Row]:
    """Yield the compressions of an image, and the cost against each on its own."""
    pixels = np.random.default_rng(1).poisson(1.0, (512, 1024)).astype("<u2")
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, own_environment()))
        player = stack.enter_context(Player(1, SECTIONS, pixels=pixels))
        apart = player.folder / "apart.toml"
        stream, rest = player.config.read_text().split("[hdf5]")
        apart.write_text(f"{stream.replace(COMPRESSED, '')}[hdf5]{rest}")
        one, own = Way(player.config), Way(apart)
        streaming = player.start("-m", "ioc", "stream", str(player.config))
        player.start("-c", CONSUMER, "PULL", f"ipc://{player.folder}/full")
        for number, way in enumerate((one, own) if quick else (one, own, own, one)):
            _measure(player, streaming, way, f"{number}.h5", 1 if quick else REPEATS)
    note = f"{statistics.median(own.compressions):.2f} with each on its own; {one.lost} and {own.lost} images lost"
    yield Row("stream, file and PV: compressions of an image", statistics.median(one.compressions), "", 1.0, note=note)
    ours, theirs = (statistics.median(way.cpu_s_per_gb) for way in (one, own))
    note = f"{ours:.2f} ({spread(one.cpu_s_per_gb)}) against {theirs:.2f} ({spread(own.cpu_s_per_gb)}) CPU s/GB"
    yield Row("stream, file and PV: one compression against three", ours / theirs, "x the CPU", note=note)


def _measure(player: Player, streaming: subprocess.Popen[str], way: Way, file: str, repeats: int) -> None:
    """Start a capture and a PV with a client, play images, and end them."""
    children = [player.start("-m", "ioc", verb, str(way.config)) for verb in ("capture", "images")]
    children.append(player.start("-c", CLIENT, f"{PREFIX}Pva1:Image"))
    request(player.runtime.command("hdf5"), "capture", 10.0, file=file)
    time.sleep(0.5)
    player.play(RATE_HZ, WARM_S)
    workers = [streaming, *children[:2]]
    for _ in range(repeats):
        time.sleep(0.2)
        before, compressed, lost = sum(map(cpu_s, workers)), _compressions(player), _lost(player)
        count = player.play(RATE_HZ, SECONDS)
        time.sleep(0.2)
        way.cpu_s_per_gb.append((sum(map(cpu_s, workers)) - before) / (count * FRAME_BYTES / 1e9))
        way.compressions.append((_compressions(player) - compressed) / count)
        way.lost += _lost(player) - lost
    for child in reversed(children):
        child.terminate()
        child.wait()
    (player.folder / file).unlink()


def _status(player: Player, worker: str) -> dict[str, Any]:
    return request(player.runtime.command(worker), "status", 10.0)


def _compressions(player: Player) -> int:
    here = sum(_status(player, worker)["compressed_here"] for worker in ("hdf5", "images"))
    return here + _status(player, "stream")["compressed"]["written"]


def _lost(player: Player) -> int:
    stream, capture = _status(player, "stream"), _status(player, "hdf5")
    overwritten = sum(status["images"]["overwritten"] for status in (stream, capture))
    return overwritten + stream["full"]["dropped"] + capture["output"]["dropped"]
