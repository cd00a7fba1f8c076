"""``pebbledaq receive``: one UDP module receiver."""

import sys
from pathlib import Path

import click

from detectors.run_state import RunState
from ioc.cli import arguments


@click.command("receive")
@arguments.config
@arguments.source("module", "udp")
@arguments.run_state("Run state to begin in; until it is enabled, packets are received, discarded and counted.")
def command(config: Path, module: str | None, state: str) -> None:
    """Receive UDP module MODULE of CONFIG, until SIGTERM or SIGINT.

    MODULE may be left out when there is only one.
    """
    from detectors.config import load_config
    from detectors.worker_names import worker_name
    from detectors.workers.receiver import run
    from ioc.cli.logs import start_log

    loaded = load_config(config)
    source = loaded.source("udp", module)
    start_log(worker_name(source), loaded.log)
    sys.exit(run(loaded, source, RunState[state.upper()]))
