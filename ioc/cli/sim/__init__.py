"""``pebbledaq sim``: simulated sources. Each runs until its frames or seconds are over, SIGTERM or SIGINT.

A source prints ``READY`` and a JSON object once it can be reached, and at its end its report, a JSON object, as the last line.
"""

from typing import Final

import click

from ioc.cli.lazy import LazyGroup

_COMMANDS: Final = {
    "ca": "Serve a camera over Channel Access.",
    "detector": "Simulate every source of a configuration.",
    "pva": "Serve a camera over PV Access.",
    "timing": "Send timing headers.",
    "udp": "Send one UDP module's packets.",
}


@click.group("sim", cls=LazyGroup, package=__name__, commands_help=_COMMANDS)
def command() -> None:
    """Simulate a source, so that everything runs without hardware."""
