"""``pebbledaq capture``: the writer of live images to HDF5."""

import logging
import sys
from pathlib import Path

import click

from detectors.config import load_config


@click.command("capture")
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--detector",
    default="",
    help="Name of the detector, where there are several: a PVA source, or the detector of the modules.",
)
def command(config: Path, detector: str) -> None:
    """Run the writer of live images to HDF5, until SIGTERM or SIGINT.

    It writes nothing until a capture is begun by its PVs or commands. The files can be followed while they grow (SWMR).
    """
    from detectors.workers.capture import run

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    sys.exit(run(load_config(config), detector))
