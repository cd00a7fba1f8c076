"""The IOC of 32 modules on one host, receiving at 10 Hz: what it costs while nobody looks, and with a screen open.

A module sends frames of 64 KiB in 8 packets, which are written and published. The screen is one client over PV Access that subscribes
to three records of each module. Each figure is the median of five parts of one run, of three seconds each.
"""

import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.system import Server
from bench.table import Row, spread
from detectors.config import load_config
from ioc.demo.children import free_ports
from sim.clock import Schedule, Stop, events
from sim.udp_module import UdpModuleSender

MODULES, RATE_HZ = 32, 10
GEOMETRY = '{header = "jungfrau", rows = 32, cols = 1024, dtype = "uint16", packets_per_frame = 8}'
SHOWN = ("State_RBV", "FrameRate_RBV", "PacketsLostRecently_RBV")
"""Records of a module on the screen."""
MEASUREMENTS = 5
PART_S, QUICK_PART_S = 3.0, 1.0
"""One measurement takes so long, s: the IOC shows each module about once a second."""
SETTLE_S = 2.0
TARGET = 0.08


def rows(*, quick: bool) -> Iterator[Row]:
    """Yield what the IOC takes of a processor."""
    part_s = QUICK_PART_S if quick else PART_S
    what = f"IOC, {MODULES} modules at {RATE_HZ} Hz"
    with tempfile.TemporaryDirectory(prefix="pd") as folder, Server(Path(folder), _tables(folder)) as server:
        names = [f"M{number:02}" for number in range(MODULES)]
        for name in names:
            server.until(f"{name}:State_RBV", "Idle")
        with _sending(server.config):
            for name in names:
                server.until(f"{name}:State_RBV", "Receiving")
            cores = _cores(server.pid, part_s)
            yield Row(what, statistics.median(cores), "cores", TARGET, note=f"five parts: {spread(cores)}")
            updates: list[float] = []
            for name in names:
                for record in SHOWN:
                    server.subscribe(f"{name}:{record}", lambda _: updates.append(time.monotonic()))
            cores = _cores(server.pid, part_s)
            note = f"five parts: {spread(cores)}; {len(updates)} updates"
            yield Row(
                f"{what}, with a screen of {MODULES * len(SHOWN)} records",
                statistics.median(cores),
                "cores",
                TARGET,
                note=note,
            )


def _tables(folder: str) -> str:
    sources = "".join(
        f'[[udp]]\nname = "M{number:02}"\nport = {port}\naddress = "127.0.0.1"\nexpect_module_id = {number}\n'
        f"geometry = {GEOMETRY}\n"
        for number, port in enumerate(free_ports(MODULES))
    )
    return f'[dma]\ncfgRxCount = 40\ncfgSize = "64 KiB"\n[disk]\nfolder = "{folder}"\nmin_free = "64 MiB"\n{sources}'


@contextmanager
def _sending(config: Path) -> Iterator[None]:
    """Send frames of all modules, from a thread."""
    schedule = Schedule.at_rate(RATE_HZ)
    senders = [
        UdpModuleSender((module.address, module.port), module.geometry, schedule, module_id=number)
        for number, module in enumerate(load_config(config).udp)
    ]

    def send(stop: Stop) -> None:
        for n in events(schedule, stop):
            for sender in senders:
                sender.send_frame(n)

    with Stop() as stop:
        thread = threading.Thread(target=send, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            for sender in senders:
                sender.close()


def _cores(pid: int, part_s: float) -> list[float]:
    """Return the processor time that all threads of a process take a second, in each part."""
    time.sleep(SETTLE_S)
    found: list[float] = []
    for _ in range(MEASUREMENTS):
        before_s, began_s = _cpu_s(pid), time.monotonic()
        time.sleep(part_s)
        found.append((_cpu_s(pid) - before_s) / (time.monotonic() - began_s))
    return found


def _cpu_s(pid: int) -> float:
    tasks: Any = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
