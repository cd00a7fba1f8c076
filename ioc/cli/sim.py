"""``pebbledaq sim``: simulated sources. Each runs until its frames or seconds are over, SIGTERM or SIGINT.

A source prints ``READY`` and a JSON object once it can be reached, and at its end its report, a JSON object, as the last line.
"""

import asyncio
import functools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import click

from detectors.errors import HostError
from detectors.geometry import ModuleGeometry
from detectors.pixels import PIXEL_TYPES
from ioc.cli import arguments, sim_detector
from ioc.cli.sim_geometry import Geometry
from sim.clock import Schedule, Stop

Function = TypeVar("Function", bound=Callable[..., Any])


class Address(click.ParamType[Any]):
    """``host:port``, or a port of the local host."""

    name = "host:port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Return host and port."""
        host, _, port = str(value).rpartition(":")
        if not port.isdigit() or not 1 <= int(port) <= 65535:
            self.fail(f"found {value!r}, expected host:port or a port from 1 to 65535", param, ctx)
        return host or "127.0.0.1", int(port)


class Shape(click.ParamType[Any]):
    """``2048x1024``: slowest dimension first."""

    name = "shape"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the dimensions."""
        parts = str(value).split("x")
        if not all(p.isdigit() and int(p) > 0 for p in parts):
            self.fail(f"found {value!r}, expected sizes like 2048x1024, slowest first", param, ctx)
        return tuple(int(p) for p in parts)


class Epoch(click.ParamType[Any]):
    """A POSIX time in ns, or ``-``."""

    name = "ns|-"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return the time, or ``-``."""
        if value != "-" and not str(value).isdigit():
            self.fail(f"found {value!r}, expected a POSIX time in ns, or -", param, ctx)
        return value if value == "-" else int(value)


@dataclass(frozen=True, slots=True)
class Start:
    """When a source begins, and on which schedule."""

    schedule: Schedule
    from_input: bool
    """The epoch is read as a line from standard input; another line, or end of file, ends the source."""

    def begin(self, source: Any, stop: Stop) -> bool:
        """Give a source that is ready its schedule; False when it is not to begin any more."""
        source.schedule = self.schedule.begun()
        if not self.from_input:
            return True
        descriptor = sys.stdin.fileno()
        line = stop.read_line(descriptor)
        if line is None:
            return False
        if not line.strip().isdigit():
            raise click.ClickException(f"standard input: found {line!r}, expected a POSIX time in ns")
        stop.watch(descriptor)
        source.schedule = replace(self.schedule, epoch_ns=int(line), shared=True)
        return True


def timeline(rate: float) -> Callable[[Function], Function]:
    """Add the options of the clock that sources share; the function gets ``start``, ``frames`` and ``seconds``."""
    options = (
        arguments.rate("Events a second; 0: as fast as possible.", rate),
        click.option("--frames", type=click.IntRange(min=1), help="End after so many events."),
        click.option("--seconds", type=click.FloatRange(min=0), help="End after so long."),
        click.option(
            "--epoch-ns",
            type=Epoch(),
            help="POSIX time of event 0, ns, shared by several sources; -: read it from standard input when all are ready.",
        ),
        arguments.first_pulse(1),
        arguments.step,
    )

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def wrapper(*, rate_hz: float, epoch_ns: int | str | None, start: int, step: int, **rest: Any) -> Any:
            epoch = epoch_ns if isinstance(epoch_ns, int) else None
            schedule = Schedule.at_rate(rate_hz, epoch_ns=epoch, first_pulse=start, pulse_step=step)
            return function(start=Start(schedule, from_input=epoch_ns == "-"), **rest)

        for option in reversed(options):
            wrapper = option(wrapper)
        return wrapper  # type: ignore[return-value]

    return decorate


def _ready(**facts: Any) -> None:
    click.echo(f"READY {json.dumps(facts)}")


def _report(report: Any) -> None:
    click.echo(json.dumps(report.as_dict()))


def _send(sender: Any, start: Start, facts: dict[str, Any], **limits: float | None) -> None:
    with Stop() as stop:
        _ready(**facts)
        try:
            if start.begin(sender, stop):
                sender.run(stop, **limits)
        finally:
            sender.close()
            _report(sender.report)


@click.group("sim")
def command() -> None:
    """Simulate a source, so that everything runs without hardware."""


command.add_command(sim_detector.command)


@command.command()
@click.argument("address", type=Address())
@timeline(rate=100.0)
@click.option(
    "--geometry",
    type=Geometry(),
    default="jungfrau",
    show_default=True,
    help="What a frame is made of: a name, or a table as in the configuration, in {}.",
)
@click.option(
    "--module-id", type=click.IntRange(0, 0xFFFF), default=0, show_default=True, help="moduleID of the header."
)
@click.option("--row", type=click.IntRange(0, 0xFFFF), default=0, show_default=True, help="Row of the header (xCoord).")
@click.option("--column", type=click.IntRange(0, 0xFFFF), default=0, show_default=True, help="Column (yCoord).")
@click.option("--number", type=click.IntRange(0, 0xFFFF), help="Module of the pattern.  [default: the moduleID]")
@click.option(
    "--bunchid/--no-bunchid", default=True, help="Send the pulse_id, or 0 as a detector that does not know it."
)
@click.option("--first-frame", default=1, show_default=True, help="frame_index of event 0.")
@click.option("--daq-rec", default=0, show_default=True, help="Value of the debug field.")
@click.option("--loss", default=0.0, show_default=True, help="Fraction of packets that are not sent.")
@click.option("--duplicate", default=0.0, show_default=True, help="Fraction of packets that are sent twice.")
@click.option("--reorder", default=0.0, show_default=True, help="Fraction of packets that are sent late.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same faults.")
@click.option("--burst", type=click.IntRange(1, 1024), default=32, show_default=True, help="Packets sent in one call.")
def udp(
    *,
    address: tuple[str, int],
    start: Start,
    frames: int | None,
    seconds: float | None,
    geometry: ModuleGeometry,
    loss: float,
    duplicate: float,
    reorder: float,
    **fields: Any,
) -> None:
    """Send one UDP module's packets to ADDRESS."""
    from sim.faults import FaultRates
    from sim.udp_module import UdpModuleSender

    sender = UdpModuleSender(
        address,
        geometry,
        start.schedule,
        faults=FaultRates(loss, duplicate, reorder),
        **fields,
    )
    facts = {"address": address, "module_id": fields["module_id"]}
    _send(sender, start, facts, frames=frames, seconds=seconds)


@command.command()
@click.argument("address", type=Address())
@timeline(rate=100.0)
@click.option(
    "--transitions/--no-transitions", default=False, help="Send the transitions of a run around the L1Accepts."
)
@click.option("--loss", default=0.0, show_default=True, help="Fraction of L1Accepts that are not sent.")
@click.option("--jitter-ms", default=0.0, show_default=True, help="Most that an L1Accept comes late.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same faults.")
def timing(
    *,
    address: tuple[str, int],
    start: Start,
    frames: int | None,
    seconds: float | None,
    jitter_ms: float,
    **fields: Any,
) -> None:
    """Send timing headers to ADDRESS, a host or a multicast group."""
    from sim.timing import TimingSender

    sender = TimingSender(address, start.schedule, jitter_s=jitter_ms / 1000, **fields)
    _send(sender, start, {"address": address}, count=frames, seconds=seconds)


@command.command()
@click.argument("pv")
@timeline(rate=10.0)
@click.option("--shape", type=Shape(), default="2048x2048", show_default=True, help="Slowest dimension first.")
@click.option("--dtype", type=click.Choice(PIXEL_TYPES), default="uint16", show_default=True)
@click.option(
    "--codec", type=click.Choice(["none", "blosc", "lz4", "bslz4", "zlib", "jpeg"]), default="none", show_default=True
)
@click.option("--module-id", default=0, show_default=True, help="Module of the pattern.")
@click.option("--initial-image", is_flag=True, help="Hold the image of event -1 from the start, as if from before.")
@click.option("--count-afresh", is_flag=True, help="uniqueId counts this process's images from 1, not by the clock.")
@click.option(
    "--restart-after", type=click.IntRange(min=1), help="Disconnect all clients after so many images, then go on ..."
)
@click.option("--restart-shape", type=Shape(), help="... with images of this shape.")
@click.option(
    "--linger", default=1.0, show_default=True, help="Keep serving so long, s, so that clients get the last image."
)
@click.option(
    "--interface", help="Address to serve on. Without this and the ports, EPICS_PVAS_* or its defaults decide."
)
@click.option("--port", type=click.IntRange(0, 65535), help="TCP port; 0: any free one.")
@click.option("--broadcast-port", type=click.IntRange(0, 65535), help="UDP port of searches; 0: any free one.")
def pva(
    *,
    pv: str,
    start: Start,
    frames: int | None,
    seconds: float | None,
    shape: tuple[int, ...],
    dtype: str,
    codec: str,
    initial_image: bool,
    restart_after: int | None,
    restart_shape: tuple[int, ...] | None,
    linger: float,
    interface: str | None,
    port: int | None,
    broadcast_port: int | None,
    **fields: Any,
) -> None:
    """Serve a camera's images as the NTNDArray PV."""
    from sim.pva_camera import PvaCamera, keep_freed_memory

    keep_freed_memory()
    camera = PvaCamera(
        pv,
        shape,
        dtype,
        start.schedule,
        codec="" if codec == "none" else codec,
        environment=interface is port is broadcast_port is None,
        interface=interface or "127.0.0.1",
        server_port=port or 0,
        broadcast_port=broadcast_port or 0,
        **fields,
    )
    with Stop() as stop:
        _ready(pv=pv, environment=camera.client_conf)
        try:
            if initial_image:
                camera.show_old_image()
            if start.begin(camera, stop):
                if restart_after:
                    camera.run(stop, frames=restart_after)
                    camera.restart(restart_shape or shape, dtype)
                camera.run(stop, frames=frames, seconds=seconds)
            with Stop() as again:
                again.wait(linger)
        finally:
            camera.close()
            _report(camera.report)


@command.command()
@click.argument("prefix")
@timeline(rate=10.0)
@click.option("--shape", type=Shape(), default="512x512", show_default=True, help="Slowest dimension first.")
@click.option("--dtype", type=click.Choice(PIXEL_TYPES), default="uint16", show_default=True)
@click.option("--array", default="image1:ArrayData", show_default=True, help="Record of the pixels, after the PREFIX.")
@click.option("--module-id", default=0, show_default=True, help="Module of the pattern.")
@click.option("--interface", default="127.0.0.1", show_default=True, help="Address to serve on.")
def ca(
    *,
    prefix: str,
    start: Start,
    frames: int | None,
    seconds: float | None,
    shape: tuple[int, ...],
    dtype: str,
    array: str,
    module_id: int,
    interface: str,
) -> None:
    """Serve a camera over Channel Access: PREFIXcam1:... and PREFIXimage1:ArrayData; ports by EPICS_CA_SERVER_PORT."""
    from sim.ca_camera import CaCamera

    camera = CaCamera(prefix, shape, dtype, start.schedule, module_id=module_id, array=array)
    try:
        asyncio.run(
            camera.run(
                frames=frames,
                seconds=seconds,
                interface=interface,
                ready=lambda: _ready(prefix=prefix),
                epoch_from=sys.stdin if start.from_input else None,
            )
        )
    except OSError as error:
        raise HostError(f"{interface}: cannot serve CA: {error.strerror}; choose another port or interface") from None
    _report(camera.report)
