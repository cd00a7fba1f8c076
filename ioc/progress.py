"""How far a tool is, on standard error: a bar on a terminal, elsewhere a line now and then."""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

FIRST_S: Final = 2.0
"""A tool that takes no longer prints no line, s."""
_EVERY_S: Final = 10.0


@contextmanager
def progress(what: str) -> Generator[Callable[[int, int], None]]:
    """Yield a function that shows what is done and what there is in all."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(what)
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    # What is printed meanwhile stays above the bar, and in a file when standard output is one.
    with Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(what: str) -> Callable[[int, int], None]:
    next_s = time.monotonic() + FIRST_S

    def show(done: int, total: int) -> None:
        nonlocal next_s
        if time.monotonic() >= next_s:
            next_s = time.monotonic() + _EVERY_S
            click.echo(f"{what}: {done} of {total}", err=True)

    return show


@contextmanager
def working(what: str) -> Generator[None]:
    """Say what takes long, on a terminal, while it does: for work whose length is not known."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield
