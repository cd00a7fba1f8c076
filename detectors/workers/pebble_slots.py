"""Gives the assembler pebble slots for its frames, and passes finished frames on."""

import time
from collections.abc import Callable

import numpy as np

from detectors.assembly.frame_slots import Frame
from detectors.errors import PoolExhaustedError
from detectors.frame import MISSING_MASK_BYTES, FrameInfo
from detectors.pools.pebble import Pebble, PebbleLease, PebbleLoan


class PebbleSlot:
    """A loan and the time at which its frame began."""

    __slots__ = ("address", "data", "loan", "time_ns")

    def __init__(self, loan: PebbleLoan) -> None:
        self.loan = loan
        self.data = loan.data
        self.address = loan.address
        self.time_ns = time.time_ns()


class PebbleSlots:
    """FrameSlots on a pebble. ``deliver`` takes each lease over."""

    def __init__(
        self,
        pebble: Pebble,
        *,
        module_id: int,
        expected_packets: int,
        wait_s: float,
        deliver: Callable[[PebbleLease], None],
    ) -> None:
        self._pebble = pebble
        self._module_id = module_id
        self._expected = expected_packets
        self._wait_s = wait_s
        self._deliver = deliver
        self._on_loan: set[int] = set()

    def claim(self, pulse_id: int, *, wait: bool = True) -> PebbleSlot | None:
        """Return the slot of a pulse; None when it is not free, or did not come free in time."""
        # A slot that we hold ourselves, for a frame still open, cannot come free while we wait here.
        own = self._pebble.layout.slot_of(pulse_id) in self._on_loan
        try:
            loan = self._pebble.claim(pulse_id, self._wait_s if wait and not own else 0.0)
        except PoolExhaustedError:
            return None
        self._on_loan.add(loan.slot)
        return PebbleSlot(loan)

    def discard(self, slot: PebbleSlot) -> None:
        """Take back a slot whose frame did not come."""
        self._on_loan.discard(slot.loan.slot)
        slot.loan.discard()

    def finish(self, slot: PebbleSlot, frame: Frame) -> None:
        """Freeze a finished frame and pass the lease on."""
        missing = b""
        if frame.count < self._expected:
            missing = np.packbits(~frame.mask, bitorder="little").tobytes().ljust(MISSING_MASK_BYTES, b"\0")
        self._on_loan.discard(slot.loan.slot)
        lease = slot.loan.freeze(
            frame_index=frame.index,
            daq_rec=frame.daq_rec,
            n_recv_packets=frame.count,
            module_id=self._module_id,
            info=FrameInfo(slot.time_ns, frame.damage, self._expected, missing),
        )
        self._deliver(lease)
