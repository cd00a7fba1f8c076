"""One PV's way into the monitor: its source's thread fills transition slots, the event thread takes them from here."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from detectors.errors import ConfigError
from detectors.pools.buffer_pool import PooledBuffer
from detectors.pools.transition import TransitionPool
from detectors.sources.image_source import Description, Update
from detectors.wire.unique_id import UniqueIds
from detectors.workers.tally import Tally

log = logging.getLogger(__name__)

_DECISION_S: Final = 0.1
"""Interval at which a source that waits for a decision looks whether there is one."""


@dataclass(frozen=True, slots=True)
class Staged:
    """One update in its transition slot."""

    buffer: PooledBuffer
    nbytes: int
    unique_id: int | None
    """Unwrapped; None when the source has none."""
    timestamp_ns: int
    arrived_ns: int
    """By the monotonic clock."""
    attributes: Mapping[str, Any]
    """NDAttributes by name."""


class Intake:
    """ImageSink of one PV: its methods run on the source's thread, all others on the event thread.

    While there are slots for the arrays that come (``attach``), updates are staged in them, in order; the pool bounds
    how many. When other arrays come than there are slots for, the source waits until the event thread has decided.
    ``dtype`` and ``shape`` are what the configuration says of the PV.
    """

    def __init__(
        self,
        name: str,
        tally: Tally,
        wake: Callable[[], object],
        *,
        hold: bool,
        dtype: str | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        self.name = name
        self.accepting = False
        """Whether updates are wanted: the run is enabled. Set by the event thread, under the tally's lock."""
        self.staged: deque[Staged] = deque()
        self.up = False
        """Whether the PV is connected and has sent an array."""
        self.description: Description | None = None
        """Of the arrays that come; None while they disagree with the configuration, or before the first."""
        self.refusal: ConfigError | None = None
        """How they disagree with it."""
        self.mismatch = False
        """Whether they are other than those that there are slots for."""
        self.undecided = threading.Event()
        """Set while the source waits for a decision on that."""
        self.message = ""
        """Why nothing comes, or why it cannot be used; empty when all is well."""
        self.unique_id = 0
        self.latency_us = 0.0
        self.last_update_ns = 0
        """When the last array came, by the monotonic clock; 0 before the first."""
        self.interval_ns = 0
        """Between the last two."""
        self._tally = tally
        self._wake = wake
        self._hold = hold
        self._dtype, self._shape = dtype, shape
        self._ids = UniqueIds()
        self._pool: TransitionPool | None = None
        self._planned: Description | None = None
        self._loan: PooledBuffer | None = None
        self._loan_pool: TransitionPool | None = None
        self._unwanted = "discarded_disabled"
        self._decided = threading.Event()
        self._closing = False
        self._seen = False

    # --- event thread

    def attach(self, pool: TransitionPool, planned: Description) -> None:
        """Give it slots for arrays like ``planned``; a source that waits goes on when told to ``leave``."""
        self._planned, self._pool = planned, pool
        self.mismatch = self.description is not None and not _alike(self.description, planned)

    def detach(self) -> None:
        """Take its slots away; what is staged stays staged."""
        self._pool = self._planned = None
        self.mismatch = False

    def leave(self) -> None:
        """Let a source that waits go on with the slots that there are."""
        self.undecided.clear()
        self._decided.set()

    def close(self) -> None:
        """Let the source's thread go wherever it waits, so that it can be joined."""
        self._closing = True
        self.detach()
        self.leave()

    # --- source thread: ImageSink

    def connected(self, description: Description) -> None:
        """Take note of what comes, and wait for slots when it is other than what came before.

        Raises ConfigError when it is not what the configuration says.
        """
        if self._seen and not self.up:
            self._tally.add(reconnects=1)
        self.up = self._seen = True
        self._unwanted = "discarded_disabled"
        try:
            description = self._conform(description)
        except ConfigError as error:
            self.refusal, self.description, self.message = error, None, str(error)
            self.mismatch = self._planned is not None
            self._wake()
            raise
        self.refusal, self.description, self.message = None, description, ""
        self.mismatch = self._planned is not None and not _alike(description, self._planned)
        log.info(
            "%s: %s %s, %s bytes", self.name, list(description.shape), description.dtype, description.payload_bytes
        )
        if self.mismatch:
            self._decided.clear()
            self.undecided.set()
        self._wake()
        while self.undecided.is_set() and not self._closing:
            self._decided.wait(_DECISION_S)

    def disconnected(self, reason: str) -> None:
        """Note that the PV is away."""
        if self.up or reason != self.message:
            log.warning("%s", reason)
        self.up, self.message = False, reason
        self._wake()

    def slot(self, nbytes: int) -> memoryview | None:
        """Return a transition slot, or None when there is none, or none is wanted."""
        pool = self._pool
        if pool is None or self.mismatch or not (self.accepting or self._hold):
            self._unwanted = "discarded_disabled"
            return None
        buffer = pool.try_acquire()
        if buffer is None:
            self._unwanted = "exhausted"
            return None
        self._loan, self._loan_pool = buffer, pool
        return buffer.view[:nbytes]

    def update(self, update: Update) -> None:
        """Stage the filled slot for the event thread."""
        buffer, pool = self._loan, self._loan_pool
        self._loan = self._loan_pool = None
        assert buffer is not None
        unique_id = self._note(update)
        with self._tally.lock:
            wanted = self.accepting and pool is self._pool
            if wanted:
                self._tally.add(updates=1, held=1)
                arrived_ns, stamp_ns = self.last_update_ns, update.timestamp_ns
                self.staged.append(Staged(buffer, update.nbytes, unique_id, stamp_ns, arrived_ns, update.attributes))
                self.message = ""
            else:
                self._tally.add(updates=1, discarded_disabled=1)
        if not wanted:
            buffer.release()
        self._wake()

    def abandon(self) -> None:
        """Take the unfilled slot back; what it was meant for shows as a gap in uniqueId, or as ``bad``."""
        assert self._loan is not None
        self._loan.release()
        self._loan = self._loan_pool = None

    def dropped(self, update: Update) -> None:
        """Count an array for which there was no slot, by the reason."""
        self._note(update)
        self._tally.add(updates=1, **{self._unwanted: 1})

    def bad(self, reason: str) -> None:
        """Count an array that cannot be decoded; the log has each reason once in a row."""
        if reason != self.message:
            log.error("%s: %s", self.name, reason)
        self.message = reason
        self._tally.add(updates=1, decode_errors=1)
        self._wake()

    def empty(self) -> None:
        """Count an update without an array."""
        self._tally.add(updates=1, empty_updates=1)

    def _note(self, update: Update) -> int | None:
        """Count what is missing before an update, and note its times; return its unwrapped uniqueId."""
        now_ns = time.monotonic_ns()
        if self.last_update_ns:
            self.interval_ns = now_ns - self.last_update_ns
        self.last_update_ns = now_ns
        if update.timestamp_ns:
            self.latency_us = (time.time_ns() - update.timestamp_ns) / 1000
        if update.unique_id is None:
            return None
        step = self._ids.step(update.unique_id)
        if step.missed or step.restarted:
            self._tally.add(missed=step.missed, restarts=int(step.restarted))
        self.unique_id = step.value
        return step.value

    def _conform(self, description: Description) -> Description:
        """Return the description with the configured shape, where the array came flat. Raises ConfigError."""
        shape = description.shape
        if self._shape is not None and len(shape) == 1 and shape[0] == math.prod(self._shape):
            shape = self._shape
        expected = (self._dtype or description.dtype, self._shape or shape)
        if (description.dtype, shape) != expected:
            raise ConfigError(
                f"{self.name}: found {list(shape)} {description.dtype}, expected {list(expected[1])} {expected[0]} as "
                "configured; correct dtype and shape of the source, or leave them out"
            )
        return replace(description, shape=shape)


def _alike(one: Description, other: Description) -> bool:
    """Whether arrays of one fit what was made for the other; how they travel does not matter."""
    return (one.payload_bytes, one.shape, one.dtype) == (other.payload_bytes, other.shape, other.dtype)
