"""The page of the command line: every command with its help, read from click."""

import inspect
from collections.abc import Iterator
from typing import Final

import click

from detectors.errors import ConfigError, PebbleDaqError
from ioc.cli import _COMMANDS, _STOPPED, cli

_HEAD: Final = f"""\
# Command line

Written by `python docs/tools/make_reference.py` from the commands in `ioc/cli/`: change those, not this page. Every command also has
`-h, --help`.

| exit code | it means |
|---|---|
| 0 | done |
| {PebbleDaqError.exit_code} | findings, or the host or the data refused it; `status`: a system is not good |
| {ConfigError.exit_code} | the request is wrong: the configuration, an argument, an option |
| {_STOPPED} | stopped by Ctrl-C |

A mistake is reported on standard error, in one line that says what was found, what is expected and what to do.
"""


def page() -> str:
    """Return the page."""
    context = click.Context(cli, info_name="pebbledaq")
    parts = [_HEAD, *_command(cli, context, 2)]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _command(command: click.Command, context: click.Context, level: int) -> Iterator[str]:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"{'#' * level} {context.command_path}\n\n```text\n{usage}\n```"
    yield _help(command)
    records = [record for parameter in command.params if (record := parameter.get_help_record(context))]
    options = [record for record in records if record[1]]  # arguments are told of in the text
    if options:
        yield "\n".join(["| option | what |", "|---|---|", *(_row(*option) for option in options)])
    if isinstance(command, click.Group):
        names = sorted(_COMMANDS) if command is cli else command.list_commands(context)
        for name in names:
            sub = command.get_command(context, name)
            if sub is None:
                raise LookupError(f"found no command {name}, expected one: it is listed")
            yield from _command(
                sub,
                click.Context(sub, parent=context, info_name=name),
                min(level + 1, 3) if command is not cli else level,
            )


def _help(command: click.Command) -> str:
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    return "\n\n".join(_paragraph(paragraph) for paragraph in paragraphs)


def _paragraph(text: str) -> str:
    if text.startswith("\b"):  # click leaves its lines as they are
        return "```text\n" + text.removeprefix("\b").strip("\n") + "\n```"
    return text


def _row(names: str, what: str) -> str:
    shown = names.replace("|", r"\|")
    return f"| `{shown}` | {' '.join(what.split()).replace('|', chr(92) + '|')} |"
