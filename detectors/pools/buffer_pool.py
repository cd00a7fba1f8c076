"""A pool of equal buffers: written by one holder, then frozen and shared read-only by many."""

from typing import Final, Self

import numpy as np

from detectors.errors import CapacityError, SizingError
from detectors.pools.ledger import Hold, Ledger
from detectors.pools.region import Region, round_to_page
from detectors.pools.sentinel import SENTINEL_BYTES, Sentinels
from detectors.stats import PoolStats

_DEFAULT_SENTINEL: Final = 0xFDFDFDFD


def slot_bytes(capacity: int, *, checked: bool) -> int:
    """Return the memory of one slot: whole pages, with room for a sentinel in checked mode."""
    return round_to_page(capacity + (SENTINEL_BYTES if checked else 0))


class _Slot:
    """The views of one slot, made once; they keep the memory alive."""

    __slots__ = ("array", "array_ro", "view", "view_ro")

    def __init__(self, view: memoryview, array: np.ndarray) -> None:
        self.view = view
        self.view_ro = view.toreadonly()
        self.array = array
        self.array_ro = array.view()
        self.array_ro.flags.writeable = False


class PooledBuffer(Hold):
    """One slot, exclusive and writable; ``len`` is what was set by ``set_len`` or ``copy_from``, 0 at first.

    The views must not be used after ``release`` or ``freeze``: the slot then belongs to somebody else.
    """

    __slots__ = ("_len", "_views")

    def __init__(self, ledger: Ledger, slot: int, views: _Slot) -> None:
        super().__init__(ledger, slot)
        self._views = views
        self._len = 0

    def __len__(self) -> int:
        return self._len

    @property
    def capacity(self) -> int:
        """Bytes of the slot."""
        return self._views.array.size

    @property
    def array(self) -> np.ndarray:
        """The whole slot, uint8[capacity], writable, page-aligned."""
        self.check()
        return self._views.array

    @property
    def view(self) -> memoryview:
        """The whole slot, writable."""
        self.check()
        return self._views.view

    def set_len(self, nbytes: int) -> None:
        """Say how many bytes count from the start of the slot. Raises CapacityError beyond the capacity."""
        self.check()
        if not 0 <= nbytes <= self.capacity:
            raise CapacityError(
                f"{self._ledger.name}: found a length of {nbytes:,} bytes, expected 0 to {self.capacity:,}; "
                "a slot never grows"
            )
        self._len = nbytes

    def copy_from(self, data: bytes | bytearray | memoryview | np.ndarray) -> None:
        """Copy ``data`` to the start of the slot and set the length. Raises CapacityError when it does not fit."""
        source = (
            np.ascontiguousarray(data).reshape(-1) if isinstance(data, np.ndarray) else np.frombuffer(data, np.uint8)
        )
        self.set_len(source.nbytes)
        # numpy lets other threads run while it copies much; a memoryview does not.
        np.copyto(self._views.array[: source.nbytes], source.view(np.uint8))

    def freeze(self) -> "Lease":
        """Return the first read-only lease on the bytes set; this buffer ends. Raises UseAfterReleaseError."""
        self._ledger.hand_over(self)
        return Lease(self._ledger, self.slot, self._views, self._len)

    def release(self) -> None:
        """Give the slot back unread. Raises DoubleReleaseError when it was released or frozen already."""
        self._ledger.release(self)


class Lease(Hold):
    """Frozen bytes, shared and read-only; the last ``close`` of all clones returns the slot."""

    __slots__ = ("_len", "_views")

    def __init__(self, ledger: Ledger, slot: int, views: _Slot, length: int) -> None:
        super().__init__(ledger, slot)
        self._views = views
        self._len = length

    def __len__(self) -> int:
        return self._len

    @property
    def data(self) -> memoryview:
        """The bytes, read-only."""
        self.check()
        return self._views.view_ro[: self._len]

    @property
    def array(self) -> np.ndarray:
        """The bytes as uint8, read-only."""
        self.check()
        return self._views.array_ro[: self._len]

    def clone(self) -> Self:
        """Return another lease on the same bytes."""
        self._ledger.share(self)
        return type(self)(self._ledger, self.slot, self._views, self._len)

    def close(self) -> None:
        """Give this lease back. Raises DoubleReleaseError when it was given back already."""
        self._ledger.release(self)


class BufferPool:
    """``count`` page-aligned buffers of ``capacity`` bytes, faulted at start. Thread-safe.

    With ``checked`` a sentinel behind each buffer is looked at when the slot comes back. Raises SizingError for a count
    or capacity below 1, HostError when there is too little memory. The memory goes with the last buffer or lease.
    """

    def __init__(
        self,
        count: int,
        capacity: int,
        *,
        name: str = "buffers",
        checked: bool = False,
        sentinel: int = _DEFAULT_SENTINEL,
    ) -> None:
        if count < 1 or capacity < 1:
            raise SizingError(f"{name}: found {count} x {capacity} bytes, expected at least 1 x 1")
        step = slot_bytes(capacity, checked=checked)
        region = Region.anonymous(count * step)
        starts = range(0, count * step, step)
        self._views = [_Slot(region.view[i : i + capacity], region.array[i : i + capacity]) for i in starts]
        intact = Sentinels(region.view, count, step, sentinel).intact if checked else None
        self._ledger = Ledger(name, count, size_bytes=capacity, intact=intact)
        self.capacity = capacity

    @property
    def size(self) -> int:
        """Buffers in all."""
        return self._ledger.count

    @property
    def available(self) -> int:
        """Buffers free at this moment."""
        return self._ledger.count - self._ledger.in_use

    def acquire(self) -> PooledBuffer:
        """Return a buffer, waiting for one as long as it takes."""
        slot = self._ledger.take(timeout_s=None)
        assert slot is not None
        return self._loan(slot)

    def try_acquire(self) -> PooledBuffer | None:
        """Return a buffer, or None when none is free."""
        slot = self._ledger.take()
        return None if slot is None else self._loan(slot)

    def try_acquire_timeout(self, timeout_s: float) -> PooledBuffer | None:
        """Return a buffer, or None when none came free within ``timeout_s``."""
        slot = self._ledger.take(timeout_s=timeout_s)
        return None if slot is None else self._loan(slot)

    async def acquire_async(self) -> PooledBuffer:
        """Return a buffer as ``acquire`` does; other tasks run meanwhile."""
        slot = await self._ledger.take_async()
        assert slot is not None
        return self._loan(slot)

    async def try_acquire_timeout_async(self, timeout_s: float) -> PooledBuffer | None:
        """Return a buffer as ``try_acquire_timeout`` does; other tasks run meanwhile."""
        slot = await self._ledger.take_async(timeout_s)
        return None if slot is None else self._loan(slot)

    def stats(self) -> PoolStats:
        """Return a snapshot of the counters."""
        return self._ledger.stats()

    def _loan(self, slot: int) -> PooledBuffer:
        return PooledBuffer(self._ledger, slot, self._views[slot])
