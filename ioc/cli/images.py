"""``pebbledaq images``: show live images as PVs."""

import sys
from pathlib import Path

import click

from detectors.config import load_config


@click.command("images")
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--detector",
    default="",
    help="Name of the detector, where there are several: a PVA source, or the detector of the modules.",
)
def command(config: Path, detector: str) -> None:
    """Show the newest image as PVs, Pva1:Image and Pva1:Preview, until SIGTERM or SIGINT.

    The modules are those of this host, or the streams that stream.remote names. Nothing is done while no client is connected.
    """
    from detectors.workers.images import run
    from detectors.workers.logs import set_up

    loaded = load_config(config)
    set_up(f"images.{detector}" if detector else "images", loaded.log)
    sys.exit(run(loaded, detector))
