"""How far a command is: a bar on standard error when that is a terminal, nothing else."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def progress(what: str, unit: str) -> Generator[Callable[[int, int], None]]:
    """Yield a function that shows what is done and what there is in all, in ``unit``, a plural."""
    if not sys.stderr.isatty():
        yield _nothing
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """Units a second."""

        def render(self, task: Task) -> Text:
            return Text(rate_text(task.speed, unit))

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn()
    # What is printed meanwhile stays above the bar, and in a file when standard output is one.
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def rate_text(speed: float | None, unit: str) -> str:
    """Return ``12 files/s``; empty while the rate is not known."""
    if speed is None:
        return ""
    return f"{speed:.0f} {unit}/s" if speed >= 10 else f"{speed:.1f} {unit}/s"


def _nothing(done: int, total: int) -> None:
    """Show nothing."""


@contextmanager
def working(what: str) -> Generator[None]:
    """Say what takes long, on a terminal, while it does: for work whose length is not known."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
