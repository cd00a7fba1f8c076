"""``pebbledaq monitor``: one PvMonitor."""

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
    from detectors.outputs.outputs import worker_name
    from detectors.workers.logs import set_up
    from detectors.workers.monitor.worker import run

    loaded = load_config(config)
    source = loaded.source("pva", name)
    set_up(worker_name(source), loaded.log)
    sys.exit(run(loaded, source, RunState[state.upper()]))
