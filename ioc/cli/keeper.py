"""``pebbledaq keeper``: keep the disks of one host within the limits of the retention."""

import sys
from pathlib import Path

import click

from ioc.cli import arguments


@click.command("keeper")
@arguments.config
@arguments.source("host", "keeper")
def command(config: Path, host: str | None) -> None:
    """Delete the oldest data files of this host, HOST in CONFIG, while its limits ask for it; until SIGTERM or SIGINT.

    The limits are disk.keep_size, keep_hours and keep_free, until the IOC sets others. HOST may be left out when there is
    only one with sources that write to disk. Without hosts the IOC does this, and no keeper runs.
    """
    from detectors.config import load_config
    from detectors.worker_names import KEEPER
    from detectors.workers.keeper import kept_host, run
    from ioc.cli.logs import start_log

    loaded = load_config(config)
    host = kept_host(loaded, host)
    start_log(f"{KEEPER}.{host}", loaded.log)
    sys.exit(run(loaded, host))
