"""A screen that is renewed: a live table on a terminal, plain lines elsewhere."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.live import Live

from ioc.glance.table import facts, render
from ioc.glance.verdict import Verdict, WorkerView

_PLAIN_EVERY_S: Final = 5.0


class Screen:
    """Context manager; ``show`` may be called at any rate."""

    def __init__(self, console: Console, *, live: bool) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if live else None
        self._next_plain_s = 0.0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if self._live:
            self._stack.enter_context(self._live)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def show(self, title: str, workers: Sequence[WorkerView], verdict: Verdict, span_s: float) -> None:
        """Show how the workers are now."""
        if self._live:
            self._live.update(render(title, workers, verdict, span_s), refresh=True)
        elif time.monotonic() >= self._next_plain_s:
            self._next_plain_s = time.monotonic() + _PLAIN_EVERY_S
            for line in plain(title, workers, verdict):
                self._console.print(line, highlight=False, soft_wrap=True)


def plain(title: str, workers: Sequence[WorkerView], verdict: Verdict) -> list[str]:
    """Return the same as lines of text, for logs."""
    why = "; ".join(verdict.reasons)
    lines = [f"{title}  {verdict.word.name.lower()}" + (f": {why}" if why else "")]
    for view in workers:
        shown = ", ".join(f"{name} {value}" for name, value in facts(view).items() if value)
        lines.append(f"{title}  {view.name}: {shown}")
    return lines
