"""A group whose commands are imported when they are called: ``receive`` must not wait for softioc."""

import importlib
from collections.abc import Mapping
from typing import Any

import click


class LazyGroup(click.Group):
    """Each of ``commands_help`` is ``command`` in a module of its name in ``package``."""

    def __init__(self, *args: Any, package: str, commands_help: Mapping[str, str], **rest: Any) -> None:
        super().__init__(*args, **rest)
        self._package = package
        self._help = commands_help

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names."""
        return sorted(self._help)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return one, imported now."""
        if cmd_name not in self._help:
            return None
        return importlib.import_module(f"{self._package}.{cmd_name}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the names and what they do, with nothing imported."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(self._help.items()))
