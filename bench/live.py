"""A script's iterator over live data in shared memory: frames of one module, and images of four, each copied once, into ``out``.

The modules are played, not received. The figures are of the steady state, the processor time is that of the whole script. The
copies alone are the same bytes copied by numpy at the same times, with nothing around them: the least that ``out`` can cost.
"""

import statistics
import subprocess
import time
from collections.abc import Iterator

from bench.player import FRAME_BYTES, PREFIX, REST_S, Player
from bench.table import Row, spread

SECONDS = 1.5
COPIES_S = 0.5
WARM_S = 2.0
"""Longer than the slots last: none of them is read for the first time later."""
REPEATS = 5
CPU_TARGET = 0.15

CONSUMER = """
import sys, time
import numpy as np
from detectors.api import LiveFrames, LiveImages
from detectors.pools.pebble_reader import PebbleReader
from detectors.runtime_names import RuntimeNames

config, prefix, modules, rest_s = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
out = np.ones((512 * modules, 1024), np.uint16)
places = np.split(out.reshape(-1).view(np.uint8), modules)
kind = LiveImages(config, out=out, timeout_s=2) if modules > 1 else LiveFrames(config, "M00", out=out, timeout_s=2)
pebbles = [PebbleReader(RuntimeNames(prefix).shm(f"udp.M{m:02}")) for m in range(modules)]


def iterate(count):
    return sum(next(kind, None) is not None for _ in range(count))


def copy(count, at_a_time):
    newest = pebbles[0].newest()
    for n in range(count):
        if n % at_a_time == 0:
            time.sleep(rest_s)
        for pebble, place in zip(pebbles, places):
            np.copyto(place, pebble.find(newest - n % 100).data)
    return count


print("up", flush=True)
for line in sys.stdin:
    what, *numbers = line.split()
    begin = time.process_time()
    done = {"iterate": iterate, "copy": copy}[what](*map(int, numbers))
    print(done, time.process_time() - begin, flush=True)
"""


def rows(*, quick: bool) -> Iterator[Row]:
    """Yield the frames and images that were lost, and the cost."""
    for modules, rate_hz, what in ((1, 1000.0, "frames of 1 MiB"), (4, 100.0, "images of 4 x 1 MiB")):
        yield from _of(modules, rate_hz, what, 1 if quick else REPEATS)


def _of(modules: int, rate_hz: float, what: str, repeats: int) -> Iterator[Row]:
    name, image_gb = f"live {what} at {rate_hz:g} Hz", modules * FRAME_BYTES / 1e9
    played = lost = 0
    costs, copies = list[float](), list[float]()
    with Player(modules) as player:
        script = player.start("-c", CONSUMER, str(player.config), PREFIX, str(modules), str(REST_S))
        time.sleep(0.5)
        for seconds in (WARM_S, *[SECONDS] * repeats):
            count = int(rate_hz * seconds)
            _ask(script, f"iterate {count}")
            player.play(rate_hz, seconds)
            got, used_s = _answer(script)
            played, lost = played + count, lost + count - got
            costs.append(used_s / (count * image_gb))
            _ask(script, f"copy {int(rate_hz * COPIES_S)} {max(1, int(rate_hz * REST_S))}")
            copied, used_s = _answer(script)
            copies.append(used_s / (copied * image_gb))
    yield Row(f"{name}: lost", lost, "", 0, note=f"of {played}")
    yield Row(f"{name}: script", statistics.median(costs[1:]), "CPU s/GB", CPU_TARGET, note=spread(costs[1:]))
    yield Row(f"{name}: the copies alone", statistics.median(copies[1:]), "CPU s/GB", note=spread(copies[1:]))


def _ask(script: subprocess.Popen[str], text: str) -> None:
    assert script.stdin
    print(text, file=script.stdin, flush=True)


def _answer(script: subprocess.Popen[str]) -> tuple[int, float]:
    """Return how many frames or images the script had, and its processor time for them, s."""
    assert script.stdout
    count, used_s = script.stdout.readline().split()
    return int(count), float(used_s)
