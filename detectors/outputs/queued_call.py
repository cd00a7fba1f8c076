"""A call that one thread queues for another, and the Future of what it returns."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class QueuedCall:
    """A call of ``action``, by the thread that calls ``run``; one whose ``answer`` was cancelled before never runs."""

    def __init__(self, action: Callable[[], Any]) -> None:
        self.action = action
        self.answer: Future[Any] = Future()

    def run(self) -> None:
        """Call it, and settle the answer."""
        if not self.answer.set_running_or_notify_cancel():
            return
        try:
            self.answer.set_result(self.action())
        except Exception as error:  # noqa: BLE001  the caller gets it
            self.answer.set_exception(error)
