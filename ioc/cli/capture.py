"""``pebbledaq capture``: the writer of live images to HDF5."""

import sys
from pathlib import Path

import click

from ioc.cli import arguments


@click.command("capture")
@arguments.config
@arguments.source("detector", "hdf5")
def command(config: Path, detector: str | None) -> None:
    """Run the writer of live images to HDF5, until SIGTERM or SIGINT.

    DETECTOR is needed where there are several: a PVA source, or the detector of the modules.
    Nothing is written until a capture is started, by its PVs for example. The files can be read while they grow (SWMR).
    """
    from detectors.config import load_config
    from detectors.workers.capture import run
    from ioc.cli.logs import start_log

    loaded = load_config(config)
    start_log(f"hdf5.{detector}" if detector else "hdf5", loaded.log)
    sys.exit(run(loaded, detector or ""))
