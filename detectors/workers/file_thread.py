"""A thread for whatever touches a file system, and so may hang, beside a data thread, which must not."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from detectors.outputs.queued_call import QueuedCall


class FileThread:
    """Does one thing after the other. A daemon: a file system that hangs does not keep the process alive."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[QueuedCall | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="files", daemon=True).start()

    def do(self, action: Callable[[], Any]) -> "Future[Any]":
        """Return the Future of an action's result."""
        call = QueuedCall(action)
        self._queue.put(call)
        return call.answer

    def close(self) -> None:
        """End the thread when it has done all; not waited for."""
        self._queue.put(None)

    def _run(self) -> None:
        while call := self._queue.get():
            call.run()
