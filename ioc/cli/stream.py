"""``pebbledaq stream``: assemble live images and stream them."""

import sys
from pathlib import Path

import click

from ioc.cli import arguments


@click.command("stream")
@arguments.config
@arguments.source("host", "parts")
def command(config: Path, host: str | None) -> None:
    """Assemble the modules' frames to images and stream them, until SIGTERM or SIGINT.

    With HOST, the name of a host, and `parts = true` in [stream]: the part of the images that its modules make up.

    Modules of its host are read from shared memory, those of other hosts by their streams. They may start in any order.
    """
    from detectors.config import load_config
    from detectors.worker_names import PARTS, STREAM
    from detectors.workers import parts, stream
    from ioc.cli.logs import start_log

    loaded = load_config(config)
    start_log(f"{PARTS}.{host}" if host else STREAM, loaded.log)
    sys.exit(parts.run(loaded, host) if host else stream.run(loaded))
