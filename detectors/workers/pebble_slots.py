"""Gives the assembler pebble slots for its frames, and passes finished frames on."""

import time
from collections.abc import Callable

from detectors.assembly.datagram import missing_mask
from detectors.assembly.frame_slots import Frame
from detectors.errors import PoolExhaustedError
from detectors.frame import Damage, FrameHead
from detectors.outputs.outputs import Outputs
from detectors.pools.pebble import Pebble, PebbleLoan


class PebbleSlots:
    """FrameSlots on a pebble: finished frames go to ``outputs``, and ``notify`` is told their pulse_ids."""

    def __init__(
        self,
        pebble: Pebble,
        *,
        module_id: int,
        expected_packets: int,
        wait_s: float,
        outputs: Outputs,
        notify: Callable[[int], None],
    ) -> None:
        self._pebble = pebble
        self._module_id = module_id
        self._expected = expected_packets
        self._wait_s = wait_s
        self._outputs = outputs
        self._notify = notify
        self._on_loan: set[int] = set()
        self._began_s = -1.0
        self._began_ns = 0
        """The same as POSIX time, ns."""

    def claim(self, pulse_id: int, *, wait: bool = True) -> PebbleLoan | None:
        """Return the slot of a pulse; None when it is not free, or did not come free in time."""
        if not wait:
            loan = self._pebble.claim_ahead(pulse_id)
        else:
            # A slot that we hold ourselves, for a frame still open, cannot come free while we wait here.
            own = self._pebble.layout.slot_of(pulse_id) in self._on_loan
            try:
                loan = self._pebble.claim(pulse_id, 0.0 if own else self._wait_s)
            except PoolExhaustedError:
                return None
        if loan:
            self._on_loan.add(loan.slot)
        return loan

    def discard(self, slot: PebbleLoan) -> None:
        """Take back a slot whose frame did not come."""
        self._on_loan.discard(slot.slot)
        slot.discard()

    def finish(self, slot: PebbleLoan, frame: Frame) -> None:
        """Publish a finished frame to other processes, and give it to the outputs that take it."""
        if frame.began_s != self._began_s:  # frames of one wake-up began together
            self._began_s = frame.began_s
            self._began_ns = time.time_ns() - int((time.monotonic() - frame.began_s) * 1e9)
        whole = frame.count == self._expected
        head = FrameHead(
            slot.pulse_id,
            frame.index,
            frame.daq_rec,
            frame.count,
            self._module_id,
            self._began_ns,
            Damage.NONE if whole and not frame.flagged else frame.damage,
            self._expected,
            b"" if whole else missing_mask(frame.mask),
        )
        self._on_loan.discard(slot.slot)
        takers = self._outputs.admit()
        if takers:
            self._outputs.put(slot.freeze(head), takers)
        else:
            slot.publish(head)
        self._notify(slot.pulse_id)
