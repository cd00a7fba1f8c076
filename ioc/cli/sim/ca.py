"""``pebbledaq sim ca``: a camera over Channel Access."""

import sys

import click

from detectors.errors import HostError
from ioc.cli.sim.timeline import Start, ready, report, timeline
from ioc.cli.sim.types import PIXEL_TYPES, Shape


@click.command("ca")
@click.argument("prefix")
@timeline(rate=10.0)
@click.option("--shape", type=Shape(), default="512x512", show_default=True, help="Slowest dimension first.")
@click.option("--dtype", type=click.Choice(PIXEL_TYPES), default="uint16", show_default=True)
@click.option("--array", default="image1:ArrayData", show_default=True, help="Record of the pixels, after the PREFIX.")
@click.option("--module-id", default=0, show_default=True, help="Module of the pattern.")
@click.option("--interface", default="127.0.0.1", show_default=True, help="Address to serve on.")
def command(
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
    import asyncio

    from sim.ca_camera import CaCamera

    camera = CaCamera(prefix, shape, dtype, start.schedule, module_id=module_id, array=array)
    try:
        asyncio.run(
            camera.run(
                frames=frames,
                seconds=seconds,
                interface=interface,
                ready=lambda: ready(prefix=prefix),
                epoch_from=sys.stdin if start.from_input else None,
            )
        )
    except OSError as error:
        raise HostError(f"{interface}: cannot serve CA: {error.strerror}; choose another port or interface") from None
    report(camera.report)
