"""``pebbledaq sizes``: the buffer plan of a configuration, the reason for every number, and whether it fits."""

from pathlib import Path

import click

from ioc.cli import arguments


@click.command("sizes")
@arguments.config
@arguments.as_json
def command(config: Path, as_json: bool) -> None:
    """Print the buffer plan of a configuration."""
    from detectors.config import load_config
    from detectors.pools.host_memory import Machine
    from detectors.workers.preflight.storage import keep_size_shortfall
    from ioc.plan import plan_source_by_source
    from ioc.reports import sizes
    from ioc.reports.output import console, print_json

    found = load_config(config)
    plans = plan_source_by_source(found)
    machine = Machine.read()
    if as_json:
        print_json(sizes.as_dict(plans, machine))
        return
    out = console(sizes.PLAIN_WIDTH)
    sizes.show(out, list(plans.values()), machine)
    if shortfall := keep_size_shortfall(found, plans):
        out.print(f"Retention: {shortfall}.", style="yellow", markup=False)
