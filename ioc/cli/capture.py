"""``pebbledaq capture``: the writer of live images to HDF5."""

import sys
from pathlib import Path

import click

from detectors.config import load_config
from ioc.cli import arguments
from ioc.cli.logs import start_log


@click.command("capture")
@arguments.config
@click.argument("detector", default="")
def command(config: Path, detector: str) -> None:
    """Run the writer of live images to HDF5, until SIGTERM or SIGINT.

    DETECTOR is needed where there are several: a PVA source, or the detector of the modules.
    It writes nothing until a capture is begun by its PVs or commands. The files can be followed while they grow (SWMR).
    """
    from detectors.workers.capture import run

    loaded = load_config(config)
    start_log(f"hdf5.{detector}" if detector else "hdf5", loaded.log)
    sys.exit(run(loaded, detector))
