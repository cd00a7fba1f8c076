"""A script's iterator over live data in shared memory: frames of one module, and images of four, each copied once, into ``out``.

The modules are played, not received. The figures are of the steady state, the processor time is that of the whole script.
"""

import statistics
import time
from collections.abc import Iterator

from bench.player import FRAME_BYTES, Player
from bench.table import Row, spread

SECONDS = 2.0
WARM_S = 1.0
REPEATS = 5
CPU_TARGET = 0.15

CONSUMER = """
import sys, time
import numpy as np
from detectors.api import LiveFrames, LiveImages

config, modules = sys.argv[1], int(sys.argv[2])
out = np.ones((512 * modules, 1024), np.uint16)
kind = LiveImages(config, out=out, timeout_s=2) if modules > 1 else LiveFrames(config, "M00", out=out, timeout_s=2)
print("up", flush=True)
for line in sys.stdin:
    begin, got = time.process_time(), 0
    for _ in range(int(line)):
        got += next(kind, None) is not None
    print(got, time.process_time() - begin, flush=True)
"""


def rows(*, quick: bool) -> Iterator[Row]:
    """Yield the frames and images that were lost, and the cost."""
    for modules, rate_hz, what in ((1, 1000.0, "frames of 1 MiB"), (4, 100.0, "images of 4 x 1 MiB")):
        yield from _of(modules, rate_hz, what, 1 if quick else REPEATS)


def _of(modules: int, rate_hz: float, what: str, repeats: int) -> Iterator[Row]:
    name = f"live {what} at {rate_hz:g} Hz"
    played = lost = 0
    costs: list[float] = []
    with Player(modules) as player:
        script = player.start("-c", CONSUMER, str(player.config), str(modules))
        assert script.stdin is not None
        assert script.stdout is not None
        time.sleep(0.5)
        for seconds in (WARM_S, *[SECONDS] * repeats):
            count = int(rate_hz * seconds)
            print(count, file=script.stdin, flush=True)
            player.play(rate_hz, seconds)
            got, used_s = script.stdout.readline().split()
            played, lost = played + count, lost + count - int(got)
            costs.append(float(used_s) / (count * modules * FRAME_BYTES / 1e9))
    yield Row(f"{name}: lost", lost, "", 0, note=f"of {played}")
    yield Row(f"{name}: script", statistics.median(costs[1:]), "CPU s/GB", CPU_TARGET, note=spread(costs[1:]))
