"""``pebbledaq web``: the page in the browser."""

import sys
from pathlib import Path

import click

from ioc.cli import arguments


@click.command("web")
@arguments.config
def command(config: Path) -> None:
    """Serve the page of CONFIG: live image, modules, pools, rates, losses; until SIGTERM or SIGINT.

    READY gives its address. It changes nothing, and works without the IOC. Needs the extra "web".
    """
    from detectors.config import load_config
    from detectors.workers.web.part import run
    from ioc.cli.logs import start_log

    loaded = load_config(config)
    start_log("web", loaded.log)
    sys.exit(run(loaded))
