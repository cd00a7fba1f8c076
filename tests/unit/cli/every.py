"""Every command of ``pebbledaq``, with those of groups."""

from collections.abc import Iterator

import click

from ioc.cli import cli


def every_command() -> dict[str, click.Command]:
    """Return the commands by their words: ``write``, ``sim udp``."""
    return dict(_inside(cli, ()))


def _inside(group: click.Group, words: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from _inside(found, (*words, name))
        else:
            yield " ".join((*words, name)), found
