"""The pebble: a pool of full datagrams in shared memory, one slot for each pulse in turn.

A slot holds one disk record (0xBE, ModuleFrame, pixels), placed so that whole sectors can be written to disk straight
from it. Within its process a slot is loaned to the producer, then leased to the outputs, and never overwritten while it
is; other processes read without a lease and check afterwards (``detectors.pools.pebble_reader``).
"""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self
from weakref import WeakSet

import numpy as np

from detectors.errors import PoolError, PoolExhaustedError
from detectors.frame import FILE_MOD, FORMAT_MARKER, RECORD_HEAD, RECORD_HEADER, FrameHead, RecordShape
from detectors.pools.buffer_pool import Lease
from detectors.pools.fence import FENCE
from detectors.pools.ledger import Hold, Ledger
from detectors.pools.region import Region
from detectors.pools.segment import ENTRY_BODY, SLOT_ENTRY, WORDS_PER_ENTRY, SegmentLayout
from detectors.pools.sentinel import L1_SENTINEL, Sentinels
from detectors.stats import PoolStats

_HEAD: Final = RECORD_HEADER.itemsize
_NOT_OWNED: Final = "pebble: it belongs to the process that this one was forked from; make another to take data"
_NO_ENTRY: Final = bytes(SLOT_ENTRY.itemsize - 8)

_NO_ATTRIBUTES: Final[Mapping[str, Any]] = MappingProxyType({})


class _Slots:
    """The memory of a pebble as its holds see it; they keep it alive, also after the pebble is closed."""

    def __init__(self, region: Region, layout: SegmentLayout) -> None:
        starts = range(layout.slots_offset, layout.nbytes, layout.slot_bytes)
        self.shape = layout.shape
        self.align, self.data_bytes = layout.shape.align, layout.shape.data_bytes
        self.record_bytes = layout.shape.record_bytes
        self.seq, self.entries = layout.table(region.view)
        self.slots = [region.view[start : start + layout.slot_bytes] for start in starts]
        self.slots_ro = [slot.toreadonly() for slot in self.slots]
        self.array = [region.array[start : start + layout.slot_bytes] for start in starts]
        self.address = [region.address + start for start in starts]
        self.owned = True
        """False in a forked child: the memory is its parent's."""
        _live.add(self)

    def open(self, slot: int) -> None:
        """Mark the slot for readers: its bytes are about to change."""
        self.seq[slot * WORDS_PER_ENTRY] |= 1
        if FENCE is not None:
            FENCE()

    def publish(self, slot: int) -> None:
        """Mark the slot for readers: its bytes and its entry are complete."""
        if FENCE is not None:
            FENCE()
        self.seq[slot * WORDS_PER_ENTRY] += 1

    def withdraw(self, slot: int) -> None:
        """Mark the slot for readers: it holds nothing. Without effect in a forked child, where any loan may be collected."""
        if self.owned:
            self.entries[slot][:] = _NO_ENTRY
            self.publish(slot)


_live: Final[WeakSet[_Slots]] = WeakSet()


def _disown() -> None:
    for memory in _live:
        memory.owned = False


os.register_at_fork(after_in_child=_disown)


class PebbleLoan(Hold):
    """One slot, exclusive and writable. End it with ``freeze``, ``publish`` or ``discard``; leaving a ``with`` block discards."""

    __slots__ = ("_memory", "_place", "address", "pulse_id")

    def __init__(self, ledger: Ledger, slot: int, pulse_id: int, memory: _Slots) -> None:
        # Hold's constructor, without the call: this runs once a frame.
        self.held, self.slot, self._ledger = True, slot, ledger
        self.pulse_id = pulse_id
        self._memory = memory
        # RecordShape.place, without the call.
        self._place = place = pulse_id % FILE_MOD * memory.record_bytes % memory.align
        self.address = memory.address[slot] + place + _HEAD
        """Address of ``data``."""
        memory.open(slot)

    @property
    def data(self) -> np.ndarray:
        """Pixels, uint8[data_bytes], writable; not aligned. Left over from an older frame until written."""
        start = self._place + _HEAD
        return self._memory.array[self.slot][start : start + self._memory.data_bytes]

    def enlist(self) -> None:
        """Take a place in the order of claims, for a loan that was claimed ahead without one."""
        self._ledger.enlist(self.slot)

    def freeze(self, head: FrameHead, attributes: Mapping[str, Any] = _NO_ATTRIBUTES) -> "PebbleLease":
        """Complete the record, publish the slot to other processes, and return the first lease on it.

        ``attributes`` are what the source sent along (NDAttributes); they stay in this process. Raises
        UseAfterReleaseError when the loan has ended, PoolError when ``head`` is of another pulse.
        """
        memory = self._memory
        self._complete(head)
        self._ledger.hand_over(self)
        lease = PebbleLease(self._ledger, self.slot, memory, self._place, head, attributes)
        memory.publish(self.slot)
        return lease

    def publish(self, head: FrameHead) -> None:
        """Complete the record and publish the slot to other processes, without a lease in this one.

        Raises as ``freeze`` does.
        """
        self._complete(head)
        self._memory.publish(self.slot)
        self._ledger.release(self)

    def _complete(self, head: FrameHead) -> None:
        self.check()
        pulse_id, index, daq_rec, received, module_id, timestamp_ns, detector_time, damage, expected, missing = head
        if pulse_id != self.pulse_id:
            raise PoolError(f"pebble: found the head of pulse {pulse_id}, expected {self.pulse_id} in this slot")
        memory, slot = self._memory, self.slot
        if not memory.owned:
            raise PoolError(_NOT_OWNED)
        # Field by field: twice as fast as *head.
        ENTRY_BODY.pack_into(
            memory.entries[slot], 0, pulse_id, index, daq_rec, received, module_id, timestamp_ns, detector_time,
            damage, expected, missing, 1,
        )  # fmt: skip
        RECORD_HEAD.pack_into(
            memory.slots[slot], self._place, FORMAT_MARKER, pulse_id, index, daq_rec, received, module_id
        )

    def discard(self) -> None:
        """Give the slot back unused. Raises DoubleReleaseError when the loan has ended."""
        if self.held:
            self._memory.withdraw(self.slot)
        self._ledger.release(self, event=False)

    release = discard

    def _lost(self) -> None:
        self._memory.withdraw(self.slot)


class PebbleLease(Hold):
    """A finished frame, shared and read-only; the last ``close`` of all clones frees the slot."""

    __slots__ = ("_memory", "_place", "attributes", "head")

    def __init__(  # noqa: PLR0917  called once a frame, by position for speed
        self, ledger: Ledger, slot: int, memory: _Slots, place: int, head: FrameHead, attributes: Mapping[str, Any]
    ) -> None:
        self.held, self.slot, self._ledger = True, slot, ledger
        self.head = head
        self.attributes = attributes
        """What the source sent along with the frame (NDAttributes), by name."""
        self._memory = memory
        self._place = place

    @property
    def pulse_id(self) -> int:
        """Pulse of the frame."""
        return self.head.pulse_id

    @property
    def record(self) -> memoryview:
        """The whole disk record, read-only: 0xBE, ModuleFrame, pixels."""
        return self._part(0, self._memory.shape.record_bytes)

    @property
    def wire_head(self) -> memoryview:
        """The 40 bytes of MODULE_FRAME, read-only."""
        return self._part(1, _HEAD)

    @property
    def data(self) -> memoryview:
        """The pixels, read-only, data_bytes."""
        return self._part(_HEAD, self._memory.shape.record_bytes)

    def span(self) -> tuple[memoryview, int, int]:
        """Return the aligned sectors around the record, the record's place in them, and their offset in the file.

        Writable, for the one disk writer: it fills in the bytes before and after the record.
        """
        self.check()
        shape, place = self._memory.shape, self._place
        stop = -(-(place + shape.record_bytes) // shape.align) * shape.align
        return self._memory.slots[self.slot][:stop], place, shape.file_offset(self.head.pulse_id) - place

    def clone(self) -> Self:
        """Return another lease on the same frame."""
        self._ledger.share(self)
        return type(self)(self._ledger, self.slot, self._memory, self._place, self.head, self.attributes)

    close = Hold.release

    def cut(self, start: int, stop: int) -> Lease:
        """End this lease, and return one on a part of the data. Raises UseAfterReleaseError."""
        part = self.data[start:stop]
        self._ledger.hand_over(self)
        return Lease(self._ledger, self.slot, part, part.nbytes)

    def _part(self, start: int, stop: int) -> memoryview:
        self.check()
        return self._memory.slots_ro[self.slot][self._place + start : self._place + stop]


class Pebble:
    """``count`` slots of ``slot_bytes``; the slot of a pulse is ``(pulse_id // pulse_id_step) & (count - 1)``.

    At most ``count - 1`` slots are in use at once. ``region_path`` None keeps the memory to this process. ``info`` is
    stored as JSON for readers. Raises SizingError for sizes against the rules, HostError when there is too little memory.
    """

    def __init__(
        self,
        region_path: Path | None,
        shape: RecordShape,
        *,
        count: int,
        slot_bytes: int,
        pulse_id_step: int = 1,
        checked: bool = False,
        info: dict[str, Any] | None = None,
    ) -> None:
        self.layout = SegmentLayout(shape, count, slot_bytes, pulse_id_step, info or {})
        self.shape, self.count = shape, count
        nbytes = self.layout.nbytes
        self.region = Region.shared(region_path, nbytes) if region_path else Region.anonymous(nbytes)
        self.layout.write(self.region.array, os.getpid())
        intact = None
        if checked:
            slots = self.region.view[self.layout.slots_offset : nbytes]
            intact = Sentinels(slots, count, slot_bytes, L1_SENTINEL).intact
        self._memory: _Slots | None = _Slots(self.region, self.layout)
        self._ledger = Ledger("pebble", count, size_bytes=slot_bytes, by_slot=True, limit=count - 1, intact=intact)

    def claim(self, pulse_id: int, timeout_s: float = 0.0) -> PebbleLoan:
        """Return the slot of a pulse, waiting up to ``timeout_s`` while it is leased or count - 1 slots are in use.

        For one producer thread. Raises PoolExhaustedError when it did not come free in time.
        """
        memory, slot = self._open_memory(), self.layout.slot_of(pulse_id)
        if self._ledger.take(slot, timeout_s) is None:
            raise PoolExhaustedError(
                f"pebble: no slot for pulse {pulse_id} within {timeout_s:g} s: slot {slot} has "
                f"{self._ledger.holds[slot]} holders, {self._ledger.in_use} of {self.count} slots are in use; "
                "the outputs are too slow or the pebble is too small"
            )
        return PebbleLoan(self._ledger, slot, pulse_id, memory)

    def claim_ahead(self, pulse_id: int, *, in_order: bool = True) -> PebbleLoan | None:
        """Return the slot of a future pulse, or None, not counted as a miss, when it is not free now.

        For the producer thread; without ``in_order`` for any thread, and the producer must ``enlist`` the loan.
        """
        memory, slot = self._open_memory(), self.layout.slot_of(pulse_id)
        taken = self._ledger.take_free(slot, in_order=in_order)
        return PebbleLoan(self._ledger, slot, pulse_id, memory) if taken else None

    def _open_memory(self) -> _Slots:
        if self._memory is None:
            raise PoolError("pebble: it is closed; make another to take data")
        if not self._memory.owned:
            raise PoolError(_NOT_OWNED)
        return self._memory

    def stats(self) -> PoolStats:
        """Return a snapshot of the counters."""
        return self._ledger.stats()

    def close(self) -> None:
        """Unlink and unmap; leases stay valid, the last of them frees the memory. Idempotent.

        A forked child only unmaps: its parent goes on with the pebble.
        """
        if self._memory is None:
            return
        if self._memory.owned:
            self.layout.mark_closed(self.region.array)
            self.region.unlink()
        self._memory = None
        self.region.close()
