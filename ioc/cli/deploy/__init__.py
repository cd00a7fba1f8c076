"""``pebbledaq deploy``: what hosts need to run a configuration as a service."""

from typing import Final

import click

from ioc.cli.lazy import LazyGroup

_COMMANDS: Final = {
    "container": "Write a Containerfile, and the script that runs it.",
    "slurm": "Write a script for sbatch, with a component for each host.",
    "systemd": "Write systemd units, and a sysctl.d file.",
}


@click.group("deploy", cls=LazyGroup, package=__name__, commands_help=_COMMANDS)
def command() -> None:
    """Write systemd units, a Slurm job or a container for a configuration, with limits that fit it and the reasons as comments."""
