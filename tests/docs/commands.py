"""Command lines that are shown and not run: what is in them must exist."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click

from ioc.cli import cli

_FENCES = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(pebbledaq [^`]+)`")


def lines_of(script: str) -> Iterator[str]:
    """The command lines of a script; those that end in a backslash are joined with the next."""
    for line in script.replace("\\\n", " ").splitlines():
        if line.strip():
            yield line.strip()


def in_text(page: str) -> list[str]:
    """The commands of pebbledaq between backticks outside of blocks."""
    return _INLINE.findall(_FENCES.sub("", page))


def calls(line: str) -> Iterator[list[str]]:
    """The words after each ``pebbledaq`` of a line; one before ``[``, a dot or a slash is no command."""
    words: list[str] | None = None
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
    lexer.commenters = "#"
    lexer.whitespace_split = True
    for word in [*lexer, ";"]:
        if set(word) <= set("();<>|&"):
            if words:
                yield words
            words = None
        elif words is None and re.fullmatch(r"([^\s=]*/)?pebbledaq", word):
            words = []
        elif words is not None:
            words.append(word)


def problem(words: list[str]) -> str:
    """What is wrong with a call of pebbledaq, or an empty text. Arguments may be names that stand for others, as in the text."""
    group: click.Command = cli
    context = click.Context(cli, info_name="pebbledaq")
    words = list(words)
    while isinstance(group, click.Group) and words and not words[0].startswith("-"):
        command = group.get_command(context, words[0])
        if command is None:
            return f"no command {words[0]}"
        context = click.Context(command, parent=context, info_name=words.pop(0))
        group = command
    try:
        group.make_parser(context).parse_args(words)
    except click.NoSuchOption as error:
        return error.format_message()
    except click.UsageError:  # in the text an option is named without its value
        return ""
    return ""


def missing_examples(text: str, root: Path) -> list[str]:
    return [name for name in re.findall(r"\bexamples/[\w.-]+\.[a-z]+", text) if not (root / name).exists()]
