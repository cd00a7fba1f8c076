"""Memory for the updates of one PV: each is received into the pebble slot of the pulse that is expected, or into a transition slot.

An update has a transition slot in any case, so the transition pool bounds how many are under way. When the pulse is another one
than was expected, or its slot is needed for another event, the bytes are copied, as they are when nothing was expected.
"""

import threading
import time
from typing import Final

import numpy as np

from detectors.assembly.forecast import PulseForecast
from detectors.pools.buffer_pool import PooledBuffer
from detectors.pools.pebble import Pebble, PebbleLoan
from detectors.pools.transition import TransitionPool
from detectors.stats import PoolStats

GIVE_WAY_S: Final = 0.002
"""How long the source's thread lets the data thread catch up, s, before updates are received where they must be copied."""


class UpdateSlots:
    """The transition pool of one PV, and at most ``ahead`` pebble slots that are claimed before their event.

    ``acquire`` is for the source's thread, all else for the data thread, unless it says otherwise.
    """

    def __init__(self, pool: TransitionPool, pebble: Pebble, ahead: int) -> None:
        self._pool, self._pebble, self._ahead = pool, pebble, ahead
        self._forecast = PulseForecast()
        self._landed: dict[int, UpdateMemory] = {}
        """Updates in a pebble slot that are not settled, by that slot."""
        self.lock = threading.Lock()
        """Held while a pebble slot is claimed ahead, and while an update is moved out of one."""
        self._gave_way = False
        """Whether the source gave way and the data thread did not catch up."""

    def acquire(self, nbytes: int, *, plain: bool) -> "UpdateMemory | None":
        """Return memory for the next update, or None when no transition slot is free.

        Only what is ``plain``, as it will be in the record, is received into the pebble.
        """
        buffer = self._pool.try_acquire()
        if buffer is None:
            return None
        self._give_way()
        with self.lock:
            number, pulse_id = self._forecast.begin()
            whole = plain and nbytes == self._pebble.shape.data_bytes
            loan = self._claim(pulse_id) if whole and pulse_id is not None else None
            memory = UpdateMemory(self, number, buffer, nbytes, loan)
            if loan is not None:
                self._landed[loan.slot] = memory
        return memory

    def vacate(self, pulse_id: int) -> None:
        """Have the pebble slot of a pulse, if an update is in it that does not belong there, free as soon as can be."""
        with self.lock:
            memory = self._landed.get(self._pebble.layout.slot_of(pulse_id))
            if memory is not None:
                memory.leave()

    def settle(self, number: int, pulse_id: int) -> None:
        """Take note of the pulse of an update."""
        self._forecast.settle(number, pulse_id)

    def same_slot(self, pulse_id: int, other: int) -> bool:
        """Whether two pulses share a slot of the pebble."""
        slot_of = self._pebble.layout.slot_of
        return slot_of(pulse_id) == slot_of(other)

    def forget(self, slot: int) -> None:
        """Take note that an update is no more in its pebble slot; with ``lock`` held. For any thread."""
        del self._landed[slot]

    def stats(self) -> PoolStats:
        """Return a snapshot of the transition pool. For any thread."""
        return self._pool.stats()

    def close(self) -> None:
        """Claim no more pebble slots."""
        with self.lock:
            self._ahead = 0

    def _give_way(self) -> None:
        """Wait a little when the data thread is behind; once, if it does not help, as when the events come late."""
        if not self._is_behind():
            self._gave_way = False
        elif not self._gave_way:
            time.sleep(GIVE_WAY_S)
            self._gave_way = self._is_behind()

    def _is_behind(self) -> bool:
        return 0 < self._ahead <= self._forecast.under_way

    def _claim(self, pulse_id: int) -> PebbleLoan | None:
        """Return the slot of an expected pulse if it can be spared: not where one of the newest frames is."""
        layout = self._pebble.layout
        distance = (pulse_id - self._forecast.last) // layout.pulse_id_step
        if len(self._landed) >= self._ahead or not 0 < distance <= layout.count // 2:
            return None
        return self._pebble.claim_ahead(pulse_id, in_order=False)


class UpdateMemory:
    """The memory of one update: for the source's thread until it is filled, and for the data thread then."""

    __slots__ = ("_buffer", "_filled", "_in_the_way", "_loan", "_nbytes", "_number", "_settled", "_slots", "view")

    def __init__(
        self, slots: UpdateSlots, number: int, buffer: PooledBuffer, nbytes: int, loan: PebbleLoan | None
    ) -> None:
        self._slots, self._number, self._buffer, self._nbytes, self._loan = slots, number, buffer, nbytes, loan
        self._filled = self._in_the_way = self._settled = False
        self.view = buffer.view[:nbytes] if loan is None else loan.data.data
        """Its bytes. After ``release`` they stay as they are until the source fills another."""

    # --- the source's thread

    def fill(self) -> None:
        """Take note that all bytes are there."""
        with self._slots.lock:
            self._filled = True
            if self._in_the_way:
                self.leave()

    def keep(self) -> memoryview:
        """Return the bytes of an update that was filled, where no other comes in their way."""
        with self._slots.lock:
            self.leave()
        return self.view

    # --- any thread

    def leave(self) -> None:
        """Move the bytes from the pebble slot to the transition slot, or do so when they are all there; with the lock held."""
        if self._loan is None or self._settled:
            return
        self._in_the_way = True
        if self._filled:
            kept = self._buffer.view[: self._nbytes]
            np.copyto(np.frombuffer(kept, np.uint8), np.frombuffer(self.view, np.uint8))
            self.view = kept
            self._discard()

    def release(self) -> None:
        """Give back what it holds."""
        with self._slots.lock:
            self._discard()
        self._buffer.release()

    def _discard(self) -> None:
        if self._loan is not None:
            loan, self._loan = self._loan, None
            self._slots.forget(loan.slot)
            loan.discard()

    # --- the data thread

    def settle(self, pulse_id: int) -> PebbleLoan | None:
        """Return the slot of its pulse, when the bytes are in it already; it is the caller's then."""
        with self._slots.lock:
            self._slots.settle(self._number, pulse_id)
            loan = self._loan
            if loan is None:
                return None
            if loan.pulse_id != pulse_id:
                self._settled = not self._slots.same_slot(loan.pulse_id, pulse_id)
                return None
            self._loan = None
            self._slots.forget(loan.slot)
        loan.enlist()
        return loan

    def copy_to(self, place: np.ndarray) -> None:
        """Copy as many of the bytes as there is place for; the GIL is free meanwhile."""
        np.copyto(place, np.frombuffer(self.view, np.uint8)[: place.size])
