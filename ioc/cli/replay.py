"""``pebbledaq replay``: send recorded data again."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from detectors.errors import ConfigError
from ioc.cli import arguments

if TYPE_CHECKING:
    from detectors.buffer.reader import BufferReader
    from detectors.replay.play import Target


@click.command("replay")
@arguments.folder
@arguments.pulse_range
@arguments.step
@arguments.rate("Pulses a second; 0: as fast as possible.")
@arguments.module
@click.option(
    "--udp",
    multiple=True,
    metavar="HOST:PORT",
    help="As UDP packets. One address a module; given once: ports counting up.",
)
@click.option(
    "--zmq",
    multiple=True,
    metavar="ADDRESS",
    help="As module streams (PUB). One address a module, or once: ports counting up.",
)
@click.option("--images", metavar="ADDRESS", help="As assembled images, Array-1.0 (PUSH).")
@click.option("--pv", metavar="NAME", help="As an NTNDArray PV, on the ports of EPICS_PVAS_*.")
@click.option(
    "--geometry",
    metavar="NAME|HEADER:PACKETS",
    help="Packets of a known module (jungfrau), or of any (sls:64); left out: the known one that fits.",
)
@arguments.as_json
def command(
    *,
    folder: Path,
    start: int | None,
    stop: int | None,
    step: int,
    rate_hz: float,
    module: str | None,
    udp: tuple[str, ...],
    zmq: tuple[str, ...],
    images: str | None,
    pv: str | None,
    geometry: str | None,
    as_json: bool,
) -> None:
    """Send what a detector's FOLDER holds again, to exactly one of --udp, --zmq, --images, --pv."""
    from dataclasses import asdict

    from detectors.replay.play import replay
    from ioc.cli.buffers import open_to_use, recorded_bounds
    from ioc.cli.logs import start_log
    from ioc.progress import progress
    from ioc.reports.output import print_json
    from ioc.reports.replay import text

    if sum(map(bool, (udp, zmq, images, pv))) != 1:
        raise ConfigError("found none or several of --udp, --zmq, --images, --pv; give exactly one")
    start_log("replay")
    reader = open_to_use(folder, module)
    first, last = recorded_bounds(reader, start, stop)
    target = _target(reader, udp=udp, zmq=zmq, images=images, pv=pv, geometry=geometry)
    try:
        with progress("replay", "pulses") as show:
            report = replay(
                reader,
                target,
                start=first,
                stop=last,
                step=step,
                rate_hz=rate_hz,
                progress=show,
            )
    finally:
        target.close()
    if as_json:
        print_json(asdict(report))
    else:
        print(text(report))


def _target(
    reader: "BufferReader",
    *,
    udp: tuple[str, ...],
    zmq: tuple[str, ...],
    images: str | None,
    pv: str | None,
    geometry: str | None,
) -> "Target":
    # Each kind is imported when it is asked for: p4p alone takes half a second.
    if udp:
        from detectors.replay.udp import UdpTarget, find_geometry

        addresses = [_host_port(a) for a in _per_module(udp, reader.modules)]
        return UdpTarget(reader, find_geometry(reader, geometry), addresses)
    if pv:
        from detectors.replay.pv import PvTarget

        return PvTarget(reader, pv)
    from detectors.replay.streams import ImageStreamTarget, ModuleStreamTarget

    if images:
        return ImageStreamTarget(reader, images)
    return ModuleStreamTarget(reader, _per_module(zmq, reader.modules))


def _per_module(addresses: tuple[str, ...], modules: tuple[str, ...]) -> list[str]:
    """Return one address a module: a single one stands for ports that count up from its own."""
    if len(addresses) != 1 or len(modules) == 1:
        return list(addresses)
    found = re.fullmatch(r"(.*:)(\d+)", addresses[0])
    if not found:
        raise ConfigError(
            f"{addresses[0]}: found no port to count up from, expected one address for each of {', '.join(modules)}"
        )
    return [f"{found[1]}{int(found[2]) + i}" for i in range(len(modules))]


def _host_port(address: str) -> tuple[str, int]:
    found = re.fullmatch(r"([^:]+):(\d{1,5})", address)
    if not found or not 1 <= int(found[2]) <= 65535:
        raise ConfigError(f"--udp: found {address!r}, expected HOST:PORT with a port from 1 to 65535")
    return found[1], int(found[2])
