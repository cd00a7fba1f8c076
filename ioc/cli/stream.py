"""``pebbledaq stream``: assemble live images and stream them."""

import sys
from pathlib import Path

import click

from ioc.cli import arguments


@click.command("stream")
@arguments.config
def command(config: Path) -> None:
    """Assemble the modules' frames to images and stream them, until SIGTERM or SIGINT.

    Modules of its host are read from shared memory, those of other hosts by their streams. They may start in any order.
    """
    from detectors.config import load_config
    from detectors.workers.stream import run
    from ioc.cli.logs import start_log

    loaded = load_config(config)
    start_log("stream", loaded.log)
    sys.exit(run(loaded))
