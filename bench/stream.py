"""Live images, with one full and two reduced consumers; the modules are played, not received."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import zmq

from bench.table import Row
from detectors.frame import FrameHead, RecordShape
from detectors.pools.pebble import Pebble
from detectors.pools.segment import least_slot_bytes
from detectors.runtime import COUNTERS_VARIABLE, Runtime
from detectors.workers.commands import request

FRAME_BYTES = 2 * 512 * 1024
SLOTS = 128
SECONDS = 5.0
QUEUE_S = 0.06
"""What the queues to the consumers hold: they share the processors with all the rest and have to wait at times."""

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


class Player:
    """Modules that finish a frame each at a steady rate."""

    def __init__(self, runtime: Runtime, modules: int) -> None:
        shape = RecordShape(FRAME_BYTES)
        runtime.make_folder()
        self.context = zmq.Context()
        self.pebbles, self.sockets = [], []
        for m in range(modules):
            name = f"udp.M{m:02}"
            pebble = Pebble(runtime.shm(name), shape, count=SLOTS, slot_bytes=least_slot_bytes(shape))
            for pulse_id in range(SLOTS):
                self._freeze(pebble, pulse_id, m)
            self.pebbles.append(pebble)
            socket = self.context.socket(zmq.XPUB)
            socket.bind(runtime.notify(name))
            self.sockets.append(socket)

    @staticmethod
    def _freeze(pebble: Pebble, pulse_id: int, m: int) -> None:
        loan = pebble.claim(pulse_id)
        loan.freeze(FrameHead(pulse_id, pulse_id, 0, 128, m, expected_packets=128)).close()

    def play(self, rate_hz: float, seconds: float) -> int:
        for socket in self.sockets:
            socket.recv()
        start = time.monotonic()
        count = int(rate_hz * seconds)
        for n in range(count):
            wait = start + n / rate_hz - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            pulse_id = 1000 + n
            for m, (pebble, socket) in enumerate(zip(self.pebbles, self.sockets, strict=True)):
                self._freeze(pebble, pulse_id, m)
                socket.send(pulse_id.to_bytes(8, "little"))
        return count

    def close(self) -> None:
        for pebble in self.pebbles:
            pebble.close()
        self.context.destroy(linger=0)


def rows(*, quick: bool) -> Iterator[Row]:
    """Yield the images that each stream lost, and the cost."""
    for modules, rate_hz in ((4, 100.0), (1, 1000.0)):
        name = f"{modules} x 1 MiB at {rate_hz:g} Hz"
        found = _measure(modules, rate_hz, 2.0 if quick else SECONDS)
        note = f"of {found['images']}; {found['reduced']} of the reduced stream with pixels"
        yield Row(f"{name}: images not made or not sent", found["lost"], "images", 0, note=note)
        yield Row(f"{name}: assembler", found["cpu_s_per_gb"], "CPU s/GB", note=f"{found['cores']:.2f} cores")


def _measure(modules: int, rate_hz: float, seconds: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="pd", dir="/tmp") as folder:
        os.environ["XDG_RUNTIME_DIR"] = os.environ[COUNTERS_VARIABLE] = folder
        runtime = Runtime("BENCH:")
        config = Path(folder) / "config.toml"
        tables = "".join(
            f'[[udp]]\nname = "M{m:02}"\nexpect_module_id = {m}\nport = {50020 + m}\n' for m in range(modules)
        )
        config.write_text(
            f'[detector]\nname = "JF"\nprefix = "BENCH:"\n{tables}[stream]\nfull = "ipc://{folder}/full"\n'
            f'reduced = "ipc://{folder}/reduced"\npulse = "ipc://{folder}/pulse"\n'
            f"high_water_mark = {max(20, int(QUEUE_S * rate_hz))}\n"
        )
        player = Player(runtime, modules)
        children = [
            subprocess.Popen([sys.executable, "-m", "ioc", "stream", str(config)], stdout=subprocess.PIPE, text=True)
        ]
        try:
            assert children[0].stdout is not None
            children[0].stdout.readline()
            for kind, name in (("PULL", "full"), ("SUB", "reduced"), ("SUB", "reduced")):
                child = subprocess.Popen(
                    [sys.executable, "-c", CONSUMER, kind, f"ipc://{folder}/{name}"], stdout=subprocess.PIPE, text=True
                )
                children.append(child)
                assert child.stdout is not None
                child.stdout.readline()
            process = psutil.Process(children[0].pid)
            before = process.cpu_times()
            count = player.play(rate_hz, seconds)
            time.sleep(0.3)
            after = process.cpu_times()
            status = request(runtime.command("stream"), "status", timeout_s=5)
        finally:
            for child in reversed(children):
                child.terminate()
                child.wait()
                assert child.stdout is not None
                child.stdout.close()
            player.close()
    full, images = status["full"], status["images"]
    cpu_s = after.user + after.system - before.user - before.system
    return {
        "images": count,
        "lost": images["overwritten"] + count - full["written"],
        "reduced": status["reduced_pixels"],
        "cpu_s_per_gb": cpu_s / (count * modules * FRAME_BYTES / 1e9),
        "cores": cpu_s / seconds,
    }
