"""``pebbledaq monitor``: one PvMonitor."""

import sys
from pathlib import Path

import click

from detectors.run_state import RunState
from ioc.cli import arguments


@click.command("monitor")
@arguments.config
@arguments.source("source", "pva")
@arguments.run_state("Run state to go to by itself, as soon as the PV is there.")
def command(config: Path, source: str | None, state: str) -> None:
    """Receive the images of the [[pva]] source SOURCE of CONFIG, until SIGTERM or SIGINT.

    SOURCE may be left out when there is only one.
    """
    from detectors.config import load_config
    from detectors.worker_names import worker_name
    from detectors.workers.monitor.worker import run
    from ioc.cli.logs import start_log

    loaded = load_config(config)
    section = loaded.source("pva", source)
    start_log(worker_name(section), loaded.log)
    sys.exit(run(loaded, section, RunState[state.upper()]))
