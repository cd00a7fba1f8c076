"""The total: results are added up in a process of its own, by a thread of the worker that also shows them now and then."""

import threading
import time
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final

from detectors.errors import ConfigError, ProcessingError
from detectors.workers.process.caller import Caller, Loading, ProcessGoneError
from detectors.workers.process.fates import ImageFates
from detectors.workers.process.function_pool import ImageJob
from detectors.workers.process.messages import Results

_LAST_S: Final = 1.0
"""How long the last results may take at the end, s."""


class LiveTotal:
    """The total of all results since the start, or the last ``reset``. Its methods may be called from any thread.

    ``show(results, fresh)`` is called on its own thread, ``publish_hz`` times a second; ``results`` is None when there are none, ``fresh``
    says whether there may be new ones.
    """

    def __init__(
        self,
        spec: str,
        publish_hz: float,
        loading: Loading,
        fates: ImageFates,
        show: Callable[[Results | None, bool], None],
    ) -> None:
        self._loading = loading
        self._fates = fates
        self._show = show
        self._period_s = 1 / publish_hz
        self._queue: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        """What the thread does next; None: end."""
        self._caller = Caller(spec, "total")
        self._thread = threading.Thread(target=loading.run, args=(self._run,), name="total")
        self._thread.start()

    def add(self, job: ImageJob, result: bytes) -> None:
        """Add the pickled result of an image, and settle it."""
        self._queue.put(partial(self._add, job, result))

    def reset(self) -> None:
        """Begin a new total after the results that were added."""
        self._queue.put(self._begin)

    def close(self) -> None:
        """Show what there is, and end the process and the thread."""
        self._queue.put(None)
        self._thread.join(_LAST_S)
        self._caller.end()
        self._thread.join()
        self._caller.close()

    def _run(self) -> None:
        self._loading.load(self._caller)
        due_s, fresh, ended = time.monotonic(), False, False
        while not ended:
            try:
                item = self._queue.get(timeout=max(0.0, due_s - time.monotonic()))
            except Empty:
                pass
            else:
                ended, fresh = item is None, True
                if item is not None:
                    item()
            now = time.monotonic()
            if now >= due_s or ended:
                due_s = max(due_s + self._period_s, now)
                self._show(self._ask("results") if fresh else None, fresh)
                fresh = False

    def _begin(self) -> None:
        self._fates.forget_error()
        self._ask("reset")

    def _add(self, job: ImageJob, result: bytes) -> None:
        head = job.image.head
        try:
            self._caller.ask("add", result, head)
        except ProcessingError as error:
            job.fail(str(error))
        except (ProcessGoneError, ConfigError):
            job.settle("lost")
            self._begin_again()
        else:
            age_ms = (time.time_ns() - head.timestamp_ns) / 1e6 if head.timestamp_ns else 0.0
            self._fates.late((time.monotonic() - job.complete_s) * 1e3, age_ms)
            job.settle("processed")

    def _ask(self, request: str) -> Any:
        """Return the answer of the process; None when there is none."""
        try:
            return self._caller.ask(request)
        except ProcessingError as error:
            self._fates.note(str(error))
        except (ProcessGoneError, ConfigError):
            self._begin_again()
        return None

    def _begin_again(self) -> None:
        self._fates.count(totals_begun=1)
        self._loading.load_again(self._caller, self._fates)
