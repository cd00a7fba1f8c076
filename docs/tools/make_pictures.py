"""Take ``docs/pictures/web.png`` and ``web-dark.png``: the page in Chromium, while eight simulated modules send a diffraction pattern.

It needs Debian's chromium and the package playwright: ``python docs/tools/make_pictures.py``.
"""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from detectors.frame import FrameHead
from detectors.geometry import GEOMETRIES
from detectors.wire.module_packets import ModulePackets

ROOT: Final = Path(__file__).resolve().parents[2]
PICTURES: Final = ROOT / "docs" / "pictures"
WIDE, HIGH = 1440, 1180
ROWS, COLUMNS = 4, 2
GAPS: Final = 36, 8
"""Pixels between modules, rows and columns."""

FRAME: Final = GEOMETRIES["jungfrau"].shape
IMAGES: Final = 6
"""Different images, sent in turn."""

PERIOD_S: Final = 0.2
LOSSY: Final = "M05"
"""The module that loses a packet now and then."""

TAKEN_AFTER_S: Final = 62.0
"""The chart has its whole minute."""


def configuration(folder: Path, ports: list[int]) -> str:
    """Return a configuration of eight modules with gaps between them; the last port is the page's."""
    rows, cols = FRAME
    modules = "".join(
        f'[[udp]]\nname = "M{m:02}"\nport = {ports[m]}\naddress = "127.0.0.1"\n'
        f"place = {{ row = {m // COLUMNS * (rows + GAPS[0])}, column = {m % COLUMNS * (cols + GAPS[1])} }}\n"
        for m in range(ROWS * COLUMNS)
    )
    return (
        f'[detector]\nname = "JUNGFRAU-4M"\nprefix = "DAQ:JF4M:"\n[ioc]\nautosave = false\n[disk]\nfolder = "{folder}"\n'
        f'[stream]\nlayout = "geometry"\nreduced = "tcp://127.0.0.1:{ports[-2]}"\n[web]\nport = {ports[-1]}\n{modules}'
    )


def pattern(seed: int) -> np.ndarray:
    """Return an image of rings and spots, with the noise of single photons."""
    random = np.random.default_rng(seed)
    rows, cols = (n * size + (n - 1) * gap for n, size, gap in zip((ROWS, COLUMNS), FRAME, GAPS, strict=True))
    y, x = np.ogrid[:rows, :cols]
    y, x = y - 0.5 * rows, x - 0.5 * cols
    radius = np.hypot(y, x).astype(np.float32)
    image = 9 + 260 * np.exp(-radius / 190)
    for ring, height, width in ((250, 60, 9), (405, 120, 8), (560, 46, 11), (700, 70, 9), (905, 34, 12)):
        image += height * np.exp(-(((radius - ring) / width) ** 2))
    fixed = np.random.default_rng(4)
    for _ in range(260):
        row, col = (int(fixed.integers(20, size - 20)) for size in (rows, cols))
        height = 5200 * random.exponential() / (1 + (np.hypot(row - rows / 2, col - cols / 2) / 420) ** 2)
        near = np.s_[row - 18 : row + 19, col - 18 : col + 19]
        there = image[near]
        dy, dx = np.ogrid[-18:19, -18:19]
        there += (height * np.exp(-(dx**2 + dy**2) / 22))[: there.shape[0], : there.shape[1]]
    image[radius < 46] = 1
    return random.poisson(image).astype(np.uint16)


def frames() -> list[list[np.ndarray]]:
    """Return the frames of each module, of each image."""
    found: list[list[np.ndarray]] = []
    for seed in range(IMAGES):
        image = pattern(seed)
        corners = (
            (m // COLUMNS * (FRAME[0] + GAPS[0]), m % COLUMNS * (FRAME[1] + GAPS[1])) for m in range(ROWS * COLUMNS)
        )
        found.append([np.ascontiguousarray(image[r : r + FRAME[0], c : c + FRAME[1]]) for r, c in corners])
    return found


def send(ports: list[int], images: list[list[np.ndarray]], ended: threading.Event) -> None:
    """Send all modules' frames until they are stopped."""
    packets = ModulePackets(GEOMETRIES["jungfrau"])
    random = np.random.default_rng(1)
    begun_s = time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for pulse in itertools.count(1):
            for m, data in enumerate(images[pulse % IMAGES]):
                packets.fill(data, FrameHead(pulse, pulse, 0, 128, m, time.time_ns()))
                lost = int(random.integers(128)) if f"M{m:02}" == LOSSY and random.random() < 0.05 else -1
                for number, row in enumerate(packets.packets):
                    if number != lost:
                        sender.sendto(row, ("127.0.0.1", ports[m]))
                    if number % 32 == 31:
                        time.sleep(0.0005)
            if ended.wait(max(0.0, begun_s + pulse * PERIOD_S - time.monotonic())):
                return


def free_ports(count: int) -> list[int]:
    """Return ports that are free."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def workers(folder: Path, ports: list[int]) -> Iterator[None]:
    """Run all workers, without the IOC, while modules send."""
    config = folder / "detector.toml"
    config.write_text(configuration(folder, ports))
    environment = os.environ | {"XDG_RUNTIME_DIR": str(folder), "PEBBLEDAQ_COUNTERS": str(folder)}
    start = [sys.executable, "-m", "ioc"]
    lines = [[*start, "receive", str(config), f"M{m:02}"] for m in range(ROWS * COLUMNS)]
    lines += [[*start, "stream", str(config)], [*start, "web", str(config)]]
    running = [
        subprocess.Popen(line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for line in lines
    ]
    ended = threading.Event()
    sending = threading.Thread(target=send, args=(ports, frames(), ended))
    try:
        for process in running:
            assert process.stdout
            process.stdout.readline()
        sending.start()
        yield
    finally:
        ended.set()
        if sending.ident:
            sending.join()
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            process.wait()


def take(address: str) -> None:
    """Take the pictures of the page, light and dark."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("found no chromium; apt-get install chromium")
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for scheme, name in (("light", "web.png"), ("dark", "web-dark.png")):
            tab = browser.new_page(viewport={"width": WIDE, "height": HIGH}, color_scheme=scheme)
            tab.goto(address)
            tab.get_by_text("images/s").wait_for()
            tab.select_option("#map", "inferno" if scheme == "dark" else "viridis")
            tab.hover("#image", position={"x": 430, "y": 190})
            tab.wait_for_timeout(3000)
            tab.screenshot(path=PICTURES / name, full_page=True)
            tab.close()
        browser.close()


def main() -> None:
    """Run the detector, and take the pictures when a minute has passed."""
    with tempfile.TemporaryDirectory(prefix="pd") as folder:
        ports = free_ports(ROWS * COLUMNS + 2)
        with workers(Path(folder), ports):
            time.sleep(TAKEN_AFTER_S)
            take(f"http://127.0.0.1:{ports[-1]}/")


if __name__ == "__main__":
    main()
