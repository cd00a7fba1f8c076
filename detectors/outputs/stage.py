"""An output stage: a thread that takes frames from a bounded queue to one sink.

The stage owns the counters of the balance ``offered = written + dropped + disabled + queued``; the sink only writes.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from detectors.counters_page import Block
from detectors.outputs.frame_queue import FrameQueue
from detectors.outputs.health import Health
from detectors.outputs.queued_call import QueuedCall
from detectors.outputs.sink import Sink
from detectors.pools.pebble import PebbleLease
from detectors.stats import OutputStats

log = logging.getLogger(__name__)

FLUSH_S: Final = 0.1
"""The sink is called once when no frame came for this long after one, s."""

IDLE_S: Final = 1.0
"""And then, or while frames come, at this interval, s, for what changes by itself: free space, subscribers, what is durable."""

_SHARE_PER_BATCH: Final = 12
"""Of so many frames of its share at most one is in the sink's hands, where it cannot be dropped and gets old."""

_SHOWN_S: Final = 1.0
"""A state of passing frames, or of dropping them, is shown for this long after the last one, s."""


class StageAccount:
    """What an output settled, on its block of the counters page. It goes on over several stages of one output."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._past = self._sums = [0] * len(block.names)

    @staticmethod
    def names(output: str) -> tuple[str, ...]:
        """Return the names of its values, by those of a worker's snapshot."""
        return tuple(f"{output}.{counter}" for counter in ("written", "overwritten", "bytes", "errors"))

    def renew(self) -> None:
        """Go on with another stage, which counts from 0."""
        self._past = self._sums

    def put(self, *counts: int) -> None:
        """Write what the present stage has counted, in the order of ``names``."""
        self._sums = [past + count for past, count in zip(self._past, counts, strict=True)]
        self._block.put(*self._sums)


class Stage:
    """Runs a sink on a thread of its own, and holds ``share`` frames at most.

    When more come, the oldest that still wait are dropped: the frames held stay those of the last ``share`` pulses, whose
    slots the pebble does not need yet. ``admit`` and ``put`` are for one producer thread; the rest for any.
    """

    def __init__(self, sink: Sink, *, enabled: bool, share: int, account: StageAccount | None = None) -> None:
        self.sink = sink
        self._account = account
        if account:
            account.renew()
        self._share = share
        self._most = max(1, min(sink.most, share // _SHARE_PER_BATCH))
        self._queue = FrameQueue()
        self._batch: list[PebbleLease] = []
        """Frames in the hands of the sink. Whichever thread takes one out settles it."""
        self._enabled = enabled
        # Counted by the producer's thread only; those dropped were admitted:
        self._admitted = self._dropped = self._disabled = 0
        self._behind_until = self._wake_at = 0.0
        # Counted by the stage's thread only; ``settled`` is the sum of three:
        self._settled = self._written = self._unwanted = self._failed = 0
        self._given_up = 0
        """Counted by ``close``."""
        self._health = Health(sink.name)
        self._last_write = 0.0
        self._idle_at = time.monotonic() + IDLE_S
        self._wait_s = FLUSH_S
        self._ended = self._abandoned = False
        self._thread = threading.Thread(target=self._run, name=f"output-{sink.name}", daemon=True)
        self._thread.start()

    # --- the producer's thread

    def admit(self) -> bool:
        """Count a frame that is offered; return whether it must be ``put``."""
        if not (self._enabled and self.sink.wanted):
            self._disabled += 1
            if self._enabled:
                self._wake()
            return False
        self._admitted += 1
        return self._admitted - self._dropped - self._settled <= self._share or self._make_room()

    def put(self, lease: PebbleLease) -> None:
        """Take over the lease of a frame that was admitted; never blocks."""
        self._queue.put(lease)

    def _make_room(self) -> bool:
        """Drop the oldest frame that waits; False when none does: then it is the new one that is dropped."""
        self._behind_until = time.monotonic() + _SHOWN_S
        self._dropped += 1
        if (oldest := self._queue.overtake()) is None:
            return False
        oldest.close()
        return True

    def _wake(self) -> None:
        """Let the sink look for takers, now and then, while frames come that have none."""
        now = time.monotonic()
        if now >= self._wake_at:
            self._wake_at = now + FLUSH_S
            self._queue.put(QueuedCall(self._idle))

    # --- any thread

    def set_enabled(self, enabled: bool) -> None:  # noqa: FBT001
        """Switch the stage; frames already queued are still written."""
        self._enabled = enabled
        self._health.recover()

    def stats(self) -> OutputStats:
        """Return a snapshot; its balance holds in itself whatever the threads do meanwhile. Makes no system call."""
        figures = self.sink.figures
        durable, lost = figures.durable, figures.lost_on_disk
        # Durable before settled, settled before admitted: what is settled in between counts as unsynced, or queued.
        written, unwanted, failed, given_up = self._written, self._unwanted, self._failed, self._given_up
        dropped, disabled = self._dropped, self._disabled
        # A record that was given up in the sink's hands may be written, and become durable, after all.
        lost = min(lost, written)
        durable = min(durable, written - lost)
        settled = written + unwanted + failed + given_up + dropped
        queued = max(0, self._admitted - settled)
        return OutputStats(
            name=self.sink.name,
            enabled=self._enabled,
            state=self._state(queued),
            message=self._health.message,
            offered=settled + queued + disabled,
            written=written,
            dropped=dropped + failed + given_up,
            disabled=disabled + unwanted,
            queued=queued,
            overwritten=figures.overwritten,
            durable=durable,
            lost_on_disk=lost,
            unsynced=written - durable - lost if figures.syncs else 0,
            bytes=figures.bytes,
            errors=self._health.errors,
            folder=figures.folder,
            free_bytes=figures.free_bytes,
            subscribers=figures.subscribers,
        )

    def _state(self, queued: int) -> str:
        now = time.monotonic()
        if not self._enabled:
            return "Off"
        if self._health.state:
            return self._health.state
        if queued >= self._share or now < self._behind_until or self._given_up:
            return "Behind"
        return self.sink.busy_state if queued or now - self._last_write < _SHOWN_S else "Idle"

    def submit(self, action: Callable[[], Any]) -> "Future[Any]":
        """Run ``action`` on the stage's thread, behind the frames already queued; one that is cancelled before never runs."""
        call = QueuedCall(action)
        self._queue.put(call)
        return call.answer

    def close(self, timeout_s: float) -> bool:
        """Write what is queued and close the sink; idempotent. For a producer that has ended.

        False when that is not done within ``timeout_s``: what is left then counts as dropped, and the thread is left to
        itself if the sink hangs.
        """
        self._queue.put(QueuedCall(self._end))
        self._thread.join(0 if self._abandoned else timeout_s)
        if not self._thread.is_alive():
            return not self._abandoned
        self._abandoned = self._ended = True
        left = self._queue.clear()
        while (lease := self._take()) is not None:
            lease.close()
            left += 1
        if left:
            self._given_up += left
            self._health.message = f"{left} frames were not written within {timeout_s:g} s of the end, and dropped"
            log.error("%s output: %s", self.sink.name, self._health.message)
        return False

    def _take(self) -> PebbleLease | None:
        """Take the first frame out of the sink's hands."""
        try:
            return self._batch.pop(0)
        except IndexError:
            return None

    # --- the stage's thread

    def _end(self) -> None:
        self._ended = True

    def _run(self) -> None:
        while not self._ended:
            try:
                self._step()
            except Exception as error:  # noqa: BLE001  counted and shown, whatever it is: the thread goes on
                self._failed += self._settle(len(self._batch))
                self._fail(error)
        try:
            self.sink.close()
        except Exception as error:  # noqa: BLE001  as above
            self._fail(error)

    def _step(self) -> None:
        """Settle what is queued as far as one batch takes it, or wait."""
        self._queue.run_overtaken()
        item = self._queue.wait(self._wait_s)
        if item is None:
            self._wait_s = IDLE_S
            self._idle()
            return
        batch, call = self._batch, None
        while item is not None:
            if isinstance(item, QueuedCall):
                call = item
                break
            batch.append(item)
            item = None if len(batch) == self._most or self._queue.empty() else self._queue.next()
        while batch:
            self._write(batch)
        if self._last_write >= self._idle_at:
            self._idle()
        if call:
            call.run()
        else:
            self._wait_s = FLUSH_S

    def _write(self, batch: list[PebbleLease]) -> None:
        """Settle the first frames of the batch."""
        now = time.monotonic()
        if self._health.is_paused(now):
            self._failed += self._settle(len(batch))
            return
        try:
            self._mend()
            written = self.sink.write(batch[:])
        except BlockingIOError as error:
            self._failed += self._settle(1)
            self._health.message = error.strerror or str(error)
        except Exception as error:  # noqa: BLE001  counted and shown, whatever it is
            self._failed += self._settle(1)
            self._fail(error)
        else:
            self._health.recover()
            if not written:
                self._unwanted += self._settle(1)
                return
            self._last_write = now
            self._health.message = ""
            written = self._settle(written)
            if self._account:  # before any snapshot can show it
                figures = self.sink.figures
                self._account.put(self._written + written, figures.overwritten, figures.bytes, self._health.errors)
            self._written += written

    def _idle(self) -> None:
        self._idle_at = time.monotonic() + IDLE_S
        if self._health.is_paused(time.monotonic()):
            return
        try:
            self._mend()
            self.sink.idle()
        except Exception as error:  # noqa: BLE001  counted and shown, whatever it is
            self._fail(error)

    def _mend(self) -> None:
        """Let the sink start again if it broke."""
        if self._health.broken:
            self.sink.reset()
            self._health.broken = False
            self._health.recover()

    def _settle(self, count: int) -> int:
        """Close the leases on the first ``count`` frames of the batch; return how many were still in it."""
        closed = 0
        while closed < count and (lease := self._take()) is not None:
            closed += 1
            try:
                lease.close()
            except Exception as error:  # noqa: BLE001  a fault of ours, counted and shown
                self._fail(error)
        self._settled += closed
        return closed

    def _fail(self, error: Exception) -> None:
        if not self._abandoned:
            self._health.fail(error, time.monotonic())
