"""The page in the browser: 20 WebSocket clients of one server whose two modules of 1 MiB send 50 frames a second, written to disk.

A message is an image of 1024 x 1024 pixels, every one of each second row and column shown, in 16 bits. The clients are one process beside
the server, the modules and the disk. A delay is from the making of a message to its arrival.
"""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import websockets

from bench.system import System
from bench.table import Row, spread
from detectors.wire.web_image import decode_web
from ioc.demo.children import free_ports

BROWSERS = 20
SECONDS = 4.0
REPEATS = 2
MODULES = 2


async def watch(port: int, delays_ms: list[float]) -> float:
    """Watch as one browser; return images a second."""
    address = f"ws://127.0.0.1:{port}/images"
    async with websockets.connect(address, max_size=None, compression=None) as browser:
        await browser.recv()
        count, began, now = 0, time.monotonic(), 0.0
        while (now := time.monotonic()) - began < SECONDS:
            head, _ = decode_web(await browser.recv())  # type: ignore[arg-type]
            delays_ms.append(time.time() * 1000 - float(str(head["sent_ms"])))
            count += 1
    return count / (now - began)


async def watch_all(port: int, delays_ms: list[float]) -> list[float]:
    """Watch as all browsers at once."""
    return await asyncio.gather(*(watch(port, delays_ms) for _ in range(BROWSERS)))


def rows(*, quick: bool) -> Iterator[Row]:
    """Yield the rows."""
    (port,) = free_ports(1)
    rates: list[float] = []
    delays_ms: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        tables = f'[disk]\nfolder = "{folder}"\nkeep_size = "4 GiB"\n[web]\nport = {port}\n'
        with System(Path(folder), tables, geometry="jungfrau", rate_hz=50, modules=MODULES) as system:
            for number in range(MODULES):
                system.until(f"M{number:02}:State_RBV", "Receiving")
            time.sleep(2)
            names = [
                f"M{number:02}:{lost}_RBV" for number in range(MODULES) for lost in ("PacketsLost", "Disk:Dropped")
            ]
            before = [system.value(name) for name in names]
            for _ in range(1 if quick else REPEATS):
                rates += asyncio.run(watch_all(port, delays_ms))
            lost = [system.value(name) - count for name, count in zip(names, before, strict=True)]
    yield Row(
        f"{BROWSERS} browsers: images a second of the slowest",
        min(rates),
        "images/s",
        9.5,
        at_most=False,
        note=f"10 are sent; {spread(rates)} in {len(rates)} views of {SECONDS:g} s",
    )
    median, high = np.percentile(delays_ms, [50, 95])
    yield Row("the same: delay, p95", float(high), "ms", 200, note=f"median {median:.0f} ms")
    yield Row("the same: packets and frames lost by the server", sum(lost), "", 0, note=f"{lost}")
