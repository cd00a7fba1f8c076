"""The IOC of 32 modules on one host, receiving at 10 Hz: what it costs without a client, and with a screen.

A module sends frames of 64 KiB in 8 packets, which are written and published. The screen is one client over PV Access that subscribes
to three records of each module. Each figure is the median of five parts of one run, of two seconds each.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench.processor import cores
from bench.system import Server
from bench.table import Row, spread
from ioc.demo.children import free_ports
from sim.console import Console
from sim.hosts.wide import MODULES, geometry_table

RATE_HZ = 10
ENOUGH = 10_000
"""Frames, more than any run takes."""
SHOWN = ("State_RBV", "FrameRate_RBV", "PacketsLostRecently_RBV")
"""Records of a module on the screen."""
PARTS = 5
PART_S, QUICK_PART_S = 2.0, 1.0
"""One part takes so long, s: the IOC shows each module about once a second."""
SETTLE_S = 2.0
TARGET = 0.08


def rows(*, quick: bool) -> Iterator[Row]:
    """Yield what the IOC takes of a processor."""
    part_s = QUICK_PART_S if quick else PART_S
    what = f"IOC, {len(MODULES)} modules at {RATE_HZ} Hz"
    ports = free_ports(len(MODULES))
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pd"))
        server = stack.enter_context(Server(Path(folder), _tables(folder, ports)))
        _until_all(server, "Idle")
        detector = Console("sim.hosts.wide_detector", *(f"127.0.0.1:{port}" for port in ports))
        stack.callback(detector.kill)
        detector.ask("send", frames=ENOUGH, rate_hz=RATE_HZ, first_pulse=1)
        _until_all(server, "Receiving")
        yield _row(what, _taken(server, part_s))
        names = [f"{module}:{record}" for module in MODULES for record in SHOWN]
        updates: list[object] = []
        for name in names:
            server.subscribe(name, updates.append)
        found = _taken(server, part_s)
        yield _row(f"{what}, with a screen of {len(names)} records", found, f"; {len(updates)} updates")


def _taken(server: Server, part_s: float) -> list[float]:
    time.sleep(SETTLE_S)
    (found,) = cores([server.pid], PARTS, part_s)
    return found


def _row(name: str, taken: list[float], more: str = "") -> Row:
    return Row(name, statistics.median(taken), "cores", TARGET, note=f"{spread(taken)}{more}")


def _until_all(server: Server, state: str) -> None:
    for module in MODULES:
        server.until(f"{module}:State_RBV", state)


def _tables(folder: str, ports: list[int]) -> str:
    sources = "".join(
        f'[[udp]]\nname = "{module}"\nport = {port}\naddress = "127.0.0.1"\nexpect_module_id = {number}\n'
        f"geometry = {geometry_table()}\n"
        for number, (module, port) in enumerate(zip(MODULES, ports, strict=True))
    )
    return f'[dma]\ncfgRxCount = 40\ncfgSize = "64 KiB"\n[disk]\nfolder = "{folder}"\nmin_free = "64 MiB"\n{sources}'
