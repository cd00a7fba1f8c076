"""One PV's way into the monitor: its source's thread fills transition slots and posts what happens as inputs."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from detectors.errors import ConfigError
from detectors.sources.image_sink import Description
from detectors.wire.ntndarray import MAX_TIMESTAMP_NS, ArrayHead
from detectors.wire.unique_id import UniqueIds
from detectors.workers.monitor.messages import Input, PvChanged, PvState, Staged
from detectors.workers.monitor.tally import Tally
from detectors.workers.monitor.update_slots import UpdateMemory, UpdateSlots

log = logging.getLogger(__name__)


class Intake:
    """ImageSink of PV number ``pv``: its methods run on the source's thread, all others on the data thread.

    While it has slots (``attach``), updates are staged in them, in order; the pool bounds how many. When arrays come
    that do not fit the slots, the source waits in ``connected`` for ``resume``. ``conform`` gives an array the configured
    shape, or raises ConfigError. Attributes may be read by any thread.
    """

    def __init__(
        self,
        pv: int,
        name: str,
        tally: Tally,
        post: Callable[[Input], object],
        *,
        hold: bool,
        conform: Callable[[Description], Description],
    ) -> None:
        self.name = name
        self.state = PvState()
        self.unique_id = 0
        self.latency_us = 0.0
        self.data_ns = 0
        """Time of the last array by its source, POSIX; 0 when it is not known."""
        self.last_update_ns = 0
        """When the last array came, by the monotonic clock; 0 before the first."""
        self.interval_ns = 0
        """Between the last two."""
        self.accepting = False
        """Whether updates are wanted. Set with the tally's lock held."""
        self._pv = pv
        self._tally = tally
        self._post = post
        self._hold = hold
        self._conform = conform
        self._ids = UniqueIds()
        self.last_ids = self._ids.last
        """The last uniqueId, unwrapped and as received, -1 before the first; the update that had it is counted."""
        self._slots: UpdateSlots | None = None
        self._planned: Description | None = None
        self._unfit = False
        """Whether arrays come that do not fit the slots."""
        self._filling: UpdateMemory | None = None
        self._filling_of: UpdateSlots | None = None
        self._last: UpdateMemory | None = None
        """What was filled last. No other than the source takes slots, so its bytes stay there until it fills the next."""
        self._unwanted = "discarded_disabled"
        """The counter of an array for which there was no slot."""
        self._early = False
        """Whether the array at hand came when none were wanted: held back, it must not become the first of a run."""
        self._resumed = threading.Event()
        self._closing = False
        self._seen = False

    # --- data thread

    def attach(self, slots: UpdateSlots, planned: Description) -> None:
        """Give it slots for arrays like ``planned``; a source that waits goes on at ``resume``."""
        with self._tally.lock:
            self._planned, self._slots, self._last = planned, slots, None
            self._unfit = not self.state.fits(planned)

    def detach(self) -> None:
        """Take its slots away; what is staged stays staged."""
        with self._tally.lock:
            self._slots = self._planned = self._last = None
            self._unfit = False

    def resume(self) -> None:
        """Let a source that waits go on with the slots that it has now."""
        self._resumed.set()

    def close(self) -> None:
        """Let the source's thread go on wherever it waits, so that it can be joined."""
        with self._tally.lock:
            self._closing = True
            self._slots = self._last = None
        self.resume()

    def resume_ids(self, value: int, raw: int) -> None:
        """Go on with the uniqueIds of an earlier life, the last one unwrapped and as received. For a source not started."""
        self._ids.go_on(value, raw)
        self.unique_id, self.last_ids = value, (value, raw)

    # --- source thread: ImageSink

    def connected(self, description: Description) -> None:
        """Take note of what comes, and wait when it does not fit the slots.

        Raises ConfigError when it is not what the configuration says.
        """
        if self._seen and not self.state.up:
            self._tally.add(reconnects=1)
        self._seen = True
        self._unwanted = "discarded_disabled"
        try:
            description = self._conform(description)
        except ConfigError as error:
            self._change(PvState(up=True, refusal=error, message=str(error)))
            raise
        log.info(
            "%s: %s %s, %s bytes", self.name, list(description.shape), description.dtype, description.payload_bytes
        )
        self._change(PvState(up=True, description=description), may_wait=True)
        self._resumed.wait()

    def disconnected(self, reason: str) -> None:
        """Note that the PV is not connected."""
        if self.state.up or reason != self.state.message:
            log.warning("%s", reason)
            self._change(replace(self.state, up=False, message=reason))

    def slot(self, nbytes: int) -> memoryview | None:
        """Return memory for an update, or None when none is free, or none is wanted."""
        slots, description = self._slots, self.state.description
        self._early = self._early or not self.accepting
        if slots is None or self._unfit or description is None or not (self.accepting or self._hold):
            self._unwanted = "discarded_disabled"
            return None
        memory = slots.acquire(nbytes, plain=not description.codec)
        if memory is None:
            self._unwanted = "exhausted"
            return None
        self._filling, self._filling_of = memory, slots
        return memory.view

    def update(self, update: ArrayHead) -> None:
        """Stage what was filled for the data thread."""
        memory, slots = self._filling, self._filling_of
        self._filling = self._filling_of = None
        assert memory is not None
        memory.fill()
        with self._tally.lock:
            unique_id = self._note(update)
            wanted = self.accepting and not self._early and slots is self._slots
            self._last = memory if slots is self._slots else None
            if wanted:
                if self.state.message:
                    self._change(replace(self.state, message=""))
                self._tally.add(updates=1, held=1)
                stamp_ns, arrived_ns = update.timestamp_ns, self.last_update_ns
                self._post(Staged(self._pv, memory, update.nbytes, unique_id, stamp_ns, arrived_ns, update.attributes))
            else:
                self._tally.add(updates=1, discarded_disabled=1)
        self._early = False
        if not wanted:
            memory.release()

    def last(self) -> memoryview | None:
        """Return the bytes of what was filled last, unless those slots are gone."""
        last = self._last
        return None if last is None else last.keep()

    def abandon(self) -> None:
        """Take the unfilled slot back; its image shows as a gap in uniqueId, or as ``bad``."""
        assert self._filling is not None
        self._filling.release()
        self._filling = self._filling_of = None
        self._early = False

    def dropped(self, update: ArrayHead) -> None:
        """Count an array for which there was no slot, by the reason."""
        with self._tally.lock:
            self._note(update)
            self._tally.add(updates=1, **{self._unwanted: 1})
        self._early = False

    def bad(self, reason: str) -> None:
        """Count an array that cannot be decoded; the log has each reason once in a row."""
        self._tally.add(updates=1, decode_errors=1)
        if reason != self.state.message:
            log.error("%s: %s", self.name, reason)
            self._change(replace(self.state, message=reason))

    def empty(self) -> None:
        """Count an update without an array."""
        self._tally.add(updates=1, empty_updates=1)

    def _change(self, state: PvState, *, may_wait: bool = False) -> None:
        """Replace the state. ``_resumed`` is clear afterwards when the source must wait."""
        with self._tally.lock:
            self.state = state
            self._unfit = self._planned is not None and not state.fits(self._planned)
            waits = may_wait and self._unfit and not self._closing
            if waits:
                self._resumed.clear()
            else:
                self._resumed.set()
            self._post(PvChanged(self._pv, state, waits))

    def _note(self, update: ArrayHead) -> int | None:
        """Count what is missing before an update, and note its times; return its unwrapped uniqueId.

        For one that holds the tally's lock, and counts the update before it gives it up.
        """
        now_ns = time.monotonic_ns()
        if self.last_update_ns:
            self.interval_ns = now_ns - self.last_update_ns
        self.last_update_ns, self.data_ns = now_ns, update.timestamp_ns
        if update.timestamp_ns == MAX_TIMESTAMP_NS:
            self._tally.add(bad_timestamps=1)
        elif update.timestamp_ns:
            self.latency_us = (time.time_ns() - update.timestamp_ns) / 1000
        if update.unique_id is None:
            return None
        step = self._ids.step(update.unique_id)
        if step.missed or step.restarted:
            self._tally.add(missed=step.missed, restarts=int(step.restarted))
        self.unique_id, self.last_ids = step.value, self._ids.last
        return step.value
