"""``pebbledaq run``: the soft-IOC, with its workers."""

import logging
import sys
from pathlib import Path

import click

from detectors.config import load_config


@click.command("run")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("-q", "--quiet", is_flag=True, help="Log warnings only, not the output of the workers.")
def command(config: Path, quiet: bool) -> None:
    """Start the soft-IOC of CONFIG, which starts and watches the workers.

    Prints READY, the PV prefix and the number of records when all can be read. SIGTERM and SIGINT stop it and every
    worker, each within its drain time (``run.drain_s``) and a second.
    """
    from ioc.server import serve

    logging.basicConfig(
        level=logging.WARNING if quiet else logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    sys.exit(serve(load_config(config), config.absolute()))
