"""``pebbledaq images``: show live images as PVs."""

import sys
from pathlib import Path

import click

from ioc.cli import arguments


@click.command("images")
@arguments.config
@arguments.source("detector", "images")
def command(config: Path, detector: str | None) -> None:
    """Show the newest image as PVs, Pva1:Image and Pva1:Preview, until SIGTERM or SIGINT.

    DETECTOR is needed where there are several: a PVA source, or the detector of the modules.
    The modules of its host are read from shared memory; when some are on others, the images are those of the stream `reduced`.
    Nothing is done while no client is connected.
    """
    from detectors.config import load_config
    from detectors.workers.images import run
    from ioc.cli.logs import start_log

    loaded = load_config(config)
    start_log(f"images.{detector}" if detector else "images", loaded.log)
    sys.exit(run(loaded, detector or ""))
