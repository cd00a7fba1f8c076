"""``pebbledaq run``: the soft-IOC, with its workers."""

import sys
from pathlib import Path

import click

from detectors.config import load_config


@click.command("run")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("-q", "--quiet", is_flag=True, help="Log warnings only, not the output of the workers.")
@click.option(
    "--shell", is_flag=True, help="Read commands from standard input: pebble list, pebble show NAME, and iocsh's."
)
def command(config: Path, quiet: bool, shell: bool) -> None:
    """Start the soft-IOC of CONFIG, which starts and watches the workers.

    Prints READY, the PV prefix and the number of records when all can be read. SIGTERM and SIGINT stop it and every
    worker, each within its drain time (``run.drain_s``) and a second.
    """
    from detectors.workers.logs import set_up
    from ioc.server import serve

    loaded = load_config(config)
    set_up("ioc", loaded.log.model_copy(update={"level": "warning"}) if quiet else loaded.log)
    sys.exit(serve(loaded, config.absolute(), shell=shell))
