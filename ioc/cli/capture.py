"""``pebbledaq capture``: the writer of live images to HDF5."""

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
    from detectors.workers.logs import set_up

    loaded = load_config(config)
    set_up(f"hdf5.{detector}" if detector else "hdf5", loaded.log)
    sys.exit(run(loaded, detector))
