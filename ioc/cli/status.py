"""``pebbledaq status``: how the systems of this host are, in one screen."""

import sys
from contextlib import ExitStack
from pathlib import Path

import click

from ioc.cli import arguments


@click.command("status")
@click.argument("config", type=arguments.CONFIG, required=False)
@click.option("--watch", is_flag=True, help="Show it again and again until Ctrl-C; with --json a line a second.")
@arguments.as_json
def command(config: Path | None, watch: bool, as_json: bool) -> None:
    """Show how the system of CONFIG is; without CONFIG all systems of this account that run on this host.

    With CONFIG, workers on its hosts are heard over the network. It asks the workers, not the IOC, and shows the last counts of those that do not run. Exit code 0 if all is good, else 1.
    """
    from ioc.glance.verdict import Word
    from ioc.progress import working
    from ioc.reports import status

    with ExitStack() as stack:
        systems = [stack.enter_context(system) for system in status.systems_of(config)]
        if not watch:
            with working("status: asking the workers"):
                status.look_once(systems)
            status.show(systems, as_json=as_json)
            sys.exit(int(any(system.verdict.word is not Word.GOOD for system in systems)))
        try:
            status.watch(systems, as_json=as_json)
        except KeyboardInterrupt:
            sys.exit(0)
