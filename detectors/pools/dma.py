"""The simulated DMA ring: ``count`` buffers of ``size`` bytes, filled in order, read in order, overrun when full."""

import queue

from detectors.pools.buffer_pool import Lease, make_slots
from detectors.pools.ledger import Ledger
from detectors.pools.sentinel import DMA_SENTINEL
from detectors.stats import DmaStats


class DmaRing:
    """A ring between one producer and one consumer thread.

    The next buffer is always the one after the last; while it is not released the ring is full, and each push is lost
    and counted. With ``checked`` a sentinel ends every buffer. Raises SizingError for a count or size below 1,
    HostError when there is too little memory.
    """

    def __init__(self, count: int, size: int, *, checked: bool = False) -> None:
        self._slots, intact = make_slots("DMA ring", count, size, DMA_SENTINEL if checked else None)
        self._ledger = Ledger("DMA ring", count, size_bytes=size, by_slot=True, intact=intact)
        self._size = size
        self._next = 0
        self._filled: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
        self._too_long = 0

    def push(self, data: bytes | bytearray | memoryview, timeout_s: float = 0.0) -> bool:
        """Copy ``data`` into the next buffer; False, counted as an overrun, when it stays in use or is too small."""
        if len(data) > self._size:
            self._too_long += 1
            return False
        slot = self._next
        if self._ledger.take(slot, timeout_s) is None:
            return False
        self._slots[slot][: len(data)] = data
        self._next = (slot + 1) % len(self._slots)
        self._filled.put((slot, len(data)))
        return True

    def read(self, timeout_s: float = 0.0) -> Lease | None:
        """Return the oldest unread buffer, or None when none was filled within ``timeout_s``."""
        try:
            slot, length = self._filled.get(timeout=timeout_s) if timeout_s > 0 else self._filled.get_nowait()
        except queue.Empty:
            return None
        return Lease(self._ledger, slot, self._slots[slot], length)

    def stats(self) -> DmaStats:
        """Return a snapshot; ``overruns`` are pushes lost, and sentinels found overwritten in checked mode."""
        pool = self._ledger.stats()
        return DmaStats(
            count=pool.count,
            size_bytes=pool.size_bytes,
            total_bytes=pool.total_bytes,
            granted_bytes=pool.total_bytes,
            in_use=pool.in_use,
            high_water=pool.high_water,
            overruns=pool.exhausted + pool.overruns + self._too_long,
        )
