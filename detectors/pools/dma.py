"""The simulated DMA ring: ``count`` buffers of ``size`` bytes, filled in order, read in order, overrun when full."""

import queue

import numpy as np

from detectors.errors import SizingError
from detectors.pools.buffer_pool import slot_bytes
from detectors.pools.ledger import Hold, Ledger
from detectors.pools.region import Region
from detectors.pools.sentinel import DMA_SENTINEL, Sentinels
from detectors.pools.socket_ring import SocketRing
from detectors.stats import DmaStats

__all__ = ["DmaBuffer", "DmaRing", "SocketRing"]


class DmaBuffer(Hold):
    """One filled buffer, the reader's until ``release``."""

    __slots__ = ("_view",)

    def __init__(self, ledger: Ledger, slot: int, view: memoryview) -> None:
        super().__init__(ledger, slot)
        self._view = view

    def __len__(self) -> int:
        return len(self._view)

    @property
    def view(self) -> memoryview:
        """The bytes received, read-only."""
        self.check()
        return self._view

    def release(self) -> None:
        """Give the buffer back to the ring. Raises DoubleReleaseError when it was given back already."""
        self._ledger.release(self)


class DmaRing:
    """A ring between one producer and one consumer thread.

    The next buffer is always the one behind the last; while it is not released the ring is full, and each push is lost
    and counted. With ``checked`` a sentinel ends every buffer. Raises SizingError for a count or size below 1,
    HostError when there is too little memory.
    """

    def __init__(self, count: int, size: int, *, checked: bool = False) -> None:
        if count < 1 or size < 1:
            raise SizingError(f"DMA ring: found {count} x {size} bytes, expected at least 1 x 1")
        step = slot_bytes(size, checked=checked)
        region = Region.anonymous(count * step)
        self._arrays = [region.array[start : start + size] for start in range(0, count * step, step)]
        self._views = [region.view[start : start + size].toreadonly() for start in range(0, count * step, step)]
        self._sentinels = Sentinels(region.view, count, step, DMA_SENTINEL) if checked else None
        intact = self._sentinels.intact if self._sentinels else None
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
        if len(data):
            np.copyto(self._arrays[slot][: len(data)], np.frombuffer(data, np.uint8))
        self._next = (slot + 1) % len(self._arrays)
        self._filled.put((slot, len(data)))
        return True

    def read(self, timeout_s: float = 0.0) -> DmaBuffer | None:
        """Return the oldest unread buffer, or None when none was filled within ``timeout_s``."""
        try:
            slot, length = self._filled.get(timeout=timeout_s) if timeout_s > 0 else self._filled.get_nowait()
        except queue.Empty:
            return None
        return DmaBuffer(self._ledger, slot, self._views[slot][:length])

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
