"""A thread for whatever touches a file system, and so may hang, beside a data thread, which must not."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class FileThread:
    """Does one thing after the other. A daemon: a file system that hangs does not keep the process alive."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="files", daemon=True).start()

    def do(self, action: Callable[[], Any]) -> "Future[Any]":
        """Return the Future of an action's result."""
        result: Future[Any] = Future()
        self._queue.put((action, result))
        return result

    def close(self) -> None:
        """End the thread when it has done all; not waited for."""
        self._queue.put(None)

    def _run(self) -> None:
        while item := self._queue.get():
            action, result = item
            if not result.set_running_or_notify_cancel():
                continue
            try:
                result.set_result(action())
            except Exception as error:  # noqa: BLE001  whatever it is, it is the result
                result.set_exception(error)
