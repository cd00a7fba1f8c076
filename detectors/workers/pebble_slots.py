"""Gives the assembler pebble slots for its frames, and passes finished frames on."""

from collections.abc import Callable, Sequence

from detectors.assembly.open_frame import Finished
from detectors.errors import PoolExhaustedError
from detectors.outputs.outputs import Outputs
from detectors.pools.pebble import Pebble, PebbleLoan


class PebbleSlots:
    """FrameSlots on a pebble. ``notify`` is called with the pulse_id of each frame published.

    A slot that is not free is waited for, at most ``wait_s``. That holds up reception, so after one wait in vain no other is
    begun until a slot has been obtained: an exhausted pebble costs one wait, not one for each frame.
    """

    def __init__(self, pebble: Pebble, *, wait_s: float, outputs: Outputs, notify: Callable[[int], None]) -> None:
        self._pebble = pebble
        self._wait_s = wait_s
        self._outputs = outputs
        self._notify = notify
        self._on_loan: set[int] = set()
        self._exhausted = False
        """Whether no slot has been obtained since a wait for one was in vain."""

    def claim(self, pulse_id: int, *, wait: bool = True) -> PebbleLoan | None:
        """Return the slot of a pulse; None when it is not free, or did not come free in time."""
        if not wait:
            loan = self._pebble.claim_ahead(pulse_id)
        else:
            # A slot that we hold ourselves, for a frame still open, cannot come free while we wait here.
            own = self._pebble.layout.slot_of(pulse_id) in self._on_loan
            timeout_s = 0.0 if own or self._exhausted else self._wait_s
            try:
                loan = self._pebble.claim(pulse_id, timeout_s)
            except PoolExhaustedError:
                self._exhausted |= timeout_s > 0
                return None
        if loan:
            self._exhausted = False
            self._on_loan.add(loan.slot)
        return loan

    def discard(self, slot: PebbleLoan) -> None:
        """Take back a slot whose frame did not come."""
        self._on_loan.discard(slot.slot)
        slot.discard()

    def publish(self, finished: Sequence[Finished]) -> None:
        """Publish frames to other processes as they are finished, and give them to the outputs that take them."""
        for slot, head in finished:
            self._on_loan.discard(slot.slot)
            takers = self._outputs.admit()
            if takers:
                self._outputs.put(slot.freeze(head), takers)
            else:
                slot.publish(head)
            self._notify(head.pulse_id)
