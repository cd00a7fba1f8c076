"""An output stage: a thread that takes frames from a bounded queue to one sink.

The stage owns the counters of the balance ``offered = written + dropped + disabled + queued``; the sink only writes.
"""

import errno
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final, Protocol

from detectors.pools.pebble import PebbleLease
from detectors.stats import OutputStats

log = logging.getLogger(__name__)

IDLE_S: Final = 0.1
"""A sink is told, again and again, that no frame came for this long, s."""

RETRY_S: Final = 1.0
"""When a sink keeps failing, frames are dropped for this long before it is tried again, s: a dead disk is not asked at 1 kHz."""

FAILURES_BEFORE_PAUSE: Final = 3
"""Failures in a row after which it counts as failing for good."""


class Sink(Protocol):
    """A place where frames go. Used by the stage's one thread, but for ``fill``."""

    name: str
    busy_state: str
    """What the state is called while frames pass: ``Writing``, ``Publishing``."""
    most: int
    """Frames that ``write`` can make use of at a time."""

    @property
    def wanted(self) -> bool:
        """Whether anybody wants frames now; while False none is queued. Called by the producer for every frame."""
        ...

    def write(self, leases: Sequence[PebbleLease]) -> int:
        """Put the first frame away, and those after it that can go along; return how many: 0 when nobody wanted the first.

        Raises BlockingIOError when only the first frame is lost, any other OSError when further ones would be, too.
        """
        ...

    def idle(self) -> None:
        """Flush what is held back, look who listens: called every IDLE_S while no frame comes. Raises OSError."""
        ...

    def fill(self, stats: OutputStats) -> OutputStats:
        """Return the stats with the sink's own fields filled in. Called from any thread."""
        ...

    def close(self) -> None:
        """Flush and let go."""
        ...


class Stage:
    """Runs a sink on a thread of its own. ``admit`` and ``put`` are for one producer thread; the rest for any."""

    def __init__(self, sink: Sink, *, enabled: bool, limit: int) -> None:
        self._sink = sink
        self._limit = limit
        self._queue: queue.SimpleQueue[PebbleLease | tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._enabled = enabled
        # Counted by the producer's thread only:
        self._offered = self._dropped_full = self._disabled_in = 0
        # Counted by the stage's thread only:
        self._taken = self._written = self._unwanted = self._failed = self._errors = 0
        self._message = ""
        self._failing_until = 0.0
        self._failures_in_a_row = 0
        self._full = False
        self._last_write = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"output-{sink.name}", daemon=True)
        self._thread.start()

    @property
    def sink(self) -> Sink:
        """The sink, for what only it can do (another folder)."""
        return self._sink

    def admit(self) -> bool:
        """Count a frame that is offered; whether it is to be ``put``. If not, it is unwanted, or the queue is full."""
        self._offered += 1
        if not (self._enabled and self._sink.wanted):
            self._disabled_in += 1
            return False
        if self._offered - self._dropped_full - self._disabled_in - self._taken > self._limit:
            self._dropped_full += 1
            return False
        return True

    def put(self, lease: PebbleLease) -> None:
        """Take over the lease of a frame that was admitted; never blocks."""
        self._queue.put(lease)

    def set_enabled(self, enabled: bool) -> None:  # noqa: FBT001
        """Switch the stage; frames already queued are still written."""
        self._enabled = enabled
        self._failing_until = 0.0
        self._failures_in_a_row = 0

    @property
    def queued(self) -> int:
        """Frames taken over and not yet settled."""
        # Read in the order that can only overstate: a frame settled in between was queued at the first read.
        settled = self._written + self._unwanted + self._failed
        return max(0, self._offered - self._dropped_full - self._disabled_in - settled)

    def stats(self) -> OutputStats:
        """Return a snapshot; its balance holds in itself whatever the threads do meanwhile."""
        written, unwanted, failed = self._written, self._unwanted, self._failed
        full, disabled_in = self._dropped_full, self._disabled_in
        offered = max(self._offered, written + unwanted + failed + full + disabled_in)
        if not self._enabled:
            state = "Disabled"
        elif self._failures_in_a_row:
            state = "Full" if self._full else "Failing"
        else:
            state = self._sink.busy_state if time.monotonic() - self._last_write < 1 else "Idle"
        return self._sink.fill(
            OutputStats(
                name=self._sink.name,
                enabled=self._enabled,
                state=state,
                message=self._message,
                offered=offered,
                written=written,
                dropped=full + failed,
                disabled=disabled_in + unwanted,
                queued=offered - written - unwanted - failed - full - disabled_in,
                errors=self._errors,
            )
        )

    def ask(self, action: Callable[[], Any], timeout_s: float = 5.0) -> Any:
        """Run ``action`` on the stage's thread, behind the frames already queued, and return what it returns.

        Raises what it raises, or TimeoutError.
        """
        answer: Future[Any] = Future()
        self._queue.put((action, answer))
        return answer.result(timeout_s)

    def drain(self, timeout_s: float) -> bool:
        """Wait until every frame offered is settled; False when that took longer than ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        while self.queued:
            if time.monotonic() > deadline:
                return False
            self._done.wait(0.005)
        return True

    def close(self) -> None:
        """Write what is queued, end the thread and close the sink."""
        self._queue.put(None)
        self._thread.join()
        self._sink.close()

    def _run(self) -> None:
        while True:
            try:
                item = self._queue.get(timeout=IDLE_S)
            except queue.Empty:
                self._try_idle()
                continue
            leases: list[PebbleLease] = []
            while item is not None and not isinstance(item, tuple):
                leases.append(item)
                if len(leases) == self._sink.most or self._queue.empty():
                    break
                item = self._queue.get()
            self._write_all(leases)
            if item is None:
                break
            if isinstance(item, tuple):
                self._act(*item)
        self._done.set()

    def _act(self, action: Callable[[], Any], answer: "Future[Any]") -> None:
        try:
            answer.set_result(action())
        except Exception as error:  # noqa: BLE001  the asker gets it, whatever it is
            answer.set_exception(error)

    def _write_all(self, leases: list[PebbleLease]) -> None:
        """Settle frames taken from the queue, and close their leases."""
        self._taken += len(leases)
        try:
            while leases:
                settled = self._write(leases)
                for lease in leases[:settled]:
                    lease.close()
                del leases[:settled]
        finally:
            for lease in leases:
                lease.close()

    def _write(self, leases: list[PebbleLease]) -> int:
        """Settle the first frames; return how many."""
        now = time.monotonic()
        if now < self._failing_until:
            self._failed += len(leases)
            return len(leases)
        try:
            written = self._sink.write(leases)
        except BlockingIOError as error:
            self._failed += 1
            self._message = error.strerror or str(error)
            return 1
        except OSError as error:
            self._failed += 1
            self._fail(error)
            return 1
        self._failures_in_a_row = 0
        if not written:
            self._unwanted += 1
            return 1
        self._written += written
        self._last_write = now
        self._message = ""
        return written

    def _try_idle(self) -> None:
        try:
            self._sink.idle()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self._errors += 1
        message = error.strerror or str(error)
        if error.filename:
            message = f"{error.filename}: {message}"
        if message != self._message:
            log.error("%s output: %s; frames are dropped and counted until it works again", self._sink.name, message)
        self._message = message
        self._full = error.errno == errno.ENOSPC
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= FAILURES_BEFORE_PAUSE or self._full:
            self._failing_until = time.monotonic() + RETRY_S
