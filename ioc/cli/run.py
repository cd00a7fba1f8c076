"""``pebbledaq run``: the soft-IOC, with its workers."""

import sys
from pathlib import Path

import click

from ioc.cli import arguments


@click.command("run")
@arguments.config
@click.option(
    "--shell", is_flag=True, help="Read commands from standard input: pebble list, pebble show NAME, and iocsh's."
)
def command(config: Path, shell: bool) -> None:
    """Start the soft-IOC of CONFIG, which starts and watches the workers.

    Prints READY, the PV prefix and the number of records when all can be read. SIGTERM and SIGINT stop it and every
    worker, each within `drain_s` of [run] and a second.
    """
    from detectors.config import load_config
    from ioc.cli.logs import chosen_level, start_log
    from ioc.server import serve
    from ioc.supervisor import command_line

    loaded = load_config(config)
    start_log("ioc", loaded.log)
    path = config.absolute()
    sys.exit(serve(loaded, path, command_line(path, chosen_level()), shell=shell))
