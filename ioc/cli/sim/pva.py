"""``pebbledaq sim pva``: a camera over PV Access."""

from typing import Any

import click

from ioc.cli.sim.timeline import Start, ready, report, timeline
from ioc.cli.sim.types import PIXEL_TYPES, Shape
from sim.clock import Stop


@click.command("pva")
@click.argument("pv")
@timeline(rate=10.0)
@click.option("--shape", type=Shape(), default="2048x2048", show_default=True, help="Slowest dimension first.")
@click.option("--dtype", type=click.Choice(PIXEL_TYPES), default="uint16", show_default=True)
@click.option(
    "--codec", type=click.Choice(["none", "blosc", "lz4", "bslz4", "zlib", "jpeg"]), default="none", show_default=True
)
@click.option("--module-id", default=0, show_default=True, help="Module of the pattern.")
@click.option("--initial-image", is_flag=True, help="Begin with the image of event -1, as a camera that ran before.")
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
def command(
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
        ready(pv=pv, environment=camera.client_conf)
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
            report(camera.report)
