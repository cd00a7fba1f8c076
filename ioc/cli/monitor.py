"""``pebbledaq monitor``: one PvMonitor."""

import logging
import sys
from pathlib import Path

import click

from detectors.config import load_config
from detectors.run_state import RunState


@click.command("monitor")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("name", required=False)
@click.option(
    "--state",
    type=click.Choice([s.name.lower() for s in RunState]),
    default="enabled",
    show_default=True,
    help="Run state to go to by itself, as soon as the PV is there.",
)
def command(config: Path, name: str | None, state: str) -> None:
    """Ingest the image PV of source NAME of CONFIG, until SIGTERM or SIGINT.

    NAME may be left out when there is only one.
    """
    from detectors.workers.monitor.worker import run

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    loaded = load_config(config)
    sys.exit(run(loaded, loaded.source("pva", name), RunState[state.upper()]))
