"""Live images, with one full and two reduced consumers; the modules are played, not received.

The figures are of the steady state: the clock starts after the first second of images. Losses are those of all seconds.
"""

import statistics
import time
from collections.abc import Iterator

from bench.player import FRAME_BYTES, Player, cpu_s
from bench.table import Row, spread
from detectors.workers.commands import request

SECONDS = 2.5
WARM_S = 1.0
REPEATS = 5
QUEUE_S = 0.06
"""What the queues to the consumers hold: they share the processors with all the rest and have to wait at times."""

CPU_TARGET = 0.5

CONSUMER = """
import sys, zmq
kind, address = sys.argv[1:]
socket = zmq.Context().socket(getattr(zmq, kind))
if kind == "SUB":
    socket.subscribe(b"")
socket.connect(address)
print("up", flush=True)
while True:
    socket.recv_multipart(copy=False)
"""

SECTION = """[stream]
full = "ipc://{folder}/full"
reduced = "ipc://{folder}/reduced"
pulse = "ipc://{folder}/pulse"
"""


def rows(*, quick: bool) -> Iterator[Row]:
    """Yield the images that each stream lost, and the cost."""
    for modules, rate_hz in ((4, 100.0), (1, 1000.0)):
        yield from _of(modules, rate_hz, 1 if quick else REPEATS, 2.0 if quick else SECONDS)


def _of(modules: int, rate_hz: float, repeats: int, seconds: float) -> Iterator[Row]:
    name = f"{modules} x 1 MiB at {rate_hz:g} Hz"
    section = f"{SECTION}high_water_mark = {max(20, int(QUEUE_S * rate_hz))}\n"
    with Player(modules, section) as player:
        assembler = player.start("-m", "ioc", "stream", str(player.config))
        for kind, stream in (("PULL", "full"), ("SUB", "reduced"), ("SUB", "reduced")):
            player.start("-c", CONSUMER, kind, f"ipc://{player.folder}/{stream}")
        time.sleep(0.5)
        played, costs = player.play(rate_hz, WARM_S), list[float]()
        for _ in range(repeats):
            before = cpu_s(assembler)
            count = player.play(rate_hz, seconds)
            time.sleep(0.3)
            costs.append((cpu_s(assembler) - before) / (count * modules * FRAME_BYTES / 1e9))
            played += count
        status = request(player.runtime.command("stream"), "status", timeout_s=5)
    note = f"of {played}; {status['images']['overwritten']} of them were overwritten"
    lost = played - status["full"]["written"]
    yield Row(f"{name}: images not made or not sent", lost, "images", 0, note=note)
    cost = statistics.median(costs)
    note = f"{spread(costs)}; {cost * rate_hz * modules * FRAME_BYTES / 1e9:.2f} cores"
    yield Row(f"{name}: assembler", cost, "CPU s/GB", CPU_TARGET, note=note)
