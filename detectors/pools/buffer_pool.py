"""A pool of equal buffers: written by one holder, then frozen and shared read-only by many."""

import ctypes
from collections.abc import Callable
from typing import Final, Self

import numpy as np

from detectors.errors import CapacityError, SizingError
from detectors.pools.ledger import Hold, Ledger
from detectors.pools.lender import Lender
from detectors.pools.region import Region, round_to_page
from detectors.pools.sentinel import SENTINEL_BYTES, Sentinels

_SENTINEL: Final = 0xFDFDFDFD


def slot_bytes(capacity: int, *, checked: bool) -> int:
    """Return the memory of one slot: whole pages, with room for a sentinel in checked mode."""
    return round_to_page(capacity + (SENTINEL_BYTES if checked else 0))


def make_slots(
    name: str, count: int, capacity: int, sentinel: int | None
) -> tuple[list[memoryview], Callable[[int], bool] | None]:
    """Return slots in new memory of this process, and what checks the sentinel of a slot, if there is one.

    Raises SizingError for a count or capacity below 1, HostError when there is too little memory.
    """
    if count < 1 or capacity < 1:
        raise SizingError(f"{name}: found {count} x {capacity} bytes, expected at least 1 x 1")
    step = slot_bytes(capacity, checked=sentinel is not None)
    memory = Region.anonymous(count * step).view
    intact = None if sentinel is None else Sentinels(memory, count, step, sentinel).intact
    return [memory[start : start + capacity] for start in range(0, count * step, step)], intact


class _Buffer(Hold):
    """A hold on ``len`` bytes from the start of a slot. Sets what Hold's constructor does: one call less."""

    __slots__ = ("_len", "_memory")

    def __init__(self, ledger: Ledger, slot: int, memory: memoryview, length: int = 0) -> None:
        self.held, self.slot, self._ledger = True, slot, ledger
        self._memory = memory
        self._len = length

    def __len__(self) -> int:
        return self._len


class PooledBuffer(_Buffer):
    """One slot, exclusive and writable; ``len`` is what was set by ``set_len`` or ``copy_from``, 0 at first.

    Each view is a fresh one. None may be used after ``release`` or ``freeze``: the slot then has other holders.
    """

    __slots__ = ()

    @property
    def capacity(self) -> int:
        """Bytes of the slot."""
        return self._memory.nbytes

    @property
    def array(self) -> np.ndarray:
        """The whole slot, uint8[capacity], writable, page-aligned."""
        self.check()
        return np.frombuffer(self._memory, np.uint8)

    @property
    def view(self) -> memoryview:
        """The whole slot, writable."""
        self.check()
        return self._memory[:]

    def set_len(self, nbytes: int) -> None:
        """Set how many bytes count from the start of the slot. Raises CapacityError beyond the capacity.

        Nothing is cleared: bytes that this holder has not written are those of the last one.
        """
        self._check_fit(nbytes)
        self._len = nbytes

    def copy_from(self, data: bytes | bytearray | memoryview | np.ndarray) -> None:
        """Copy ``data`` to the start of the slot and set the length.

        Raises CapacityError when it does not fit, TypeError for an array of Python objects; the buffer is then as before.
        """
        source = np.ascontiguousarray(data).reshape(-1) if isinstance(data, np.ndarray) else np.frombuffer(data, "u1")
        source = source.view(np.uint8)  # TypeError for objects
        self._check_fit(source.nbytes)
        # numpy lets other threads run while it copies much; a memoryview does not.
        np.copyto(self.array[: source.nbytes], source)
        self._len = source.nbytes

    def copy_from_address(self, address: int, nbytes: int) -> None:
        """Copy ``nbytes`` from C memory, as a camera's SDK hands it out, and set the length.

        The address must be good for ``nbytes``: that is not checked. Raises CapacityError when they do not fit.
        """
        self._check_fit(nbytes)
        ctypes.memmove(self.array.ctypes.data, address, nbytes)
        self._len = nbytes

    def freeze(self) -> "Lease":
        """Return the first read-only lease on the bytes set; this buffer ends. Raises UseAfterReleaseError."""
        self._ledger.hand_over(self)
        return Lease(self._ledger, self.slot, self._memory, self._len)

    def _check_fit(self, nbytes: int) -> None:
        self.check()
        if not 0 <= nbytes <= self.capacity:
            raise CapacityError(
                f"{self._ledger.name}: found a length of {nbytes:,} bytes, expected 0 to {self.capacity:,}; "
                "a slot never grows"
            )


class Lease(_Buffer):
    """Frozen bytes, shared and read-only; the last ``close`` of all clones returns the slot. ``bytes(lease)`` copies them."""

    __slots__ = ()

    def __bytes__(self) -> bytes:
        return bytes(self.data)

    @property
    def data(self) -> memoryview:
        """The bytes, read-only."""
        self.check()
        return self._memory[: self._len].toreadonly()

    @property
    def array(self) -> np.ndarray:
        """The bytes as uint8; the array cannot be made writable."""
        return np.frombuffer(self.data, np.uint8)

    def clone(self) -> Self:
        """Return another lease on the same bytes."""
        self._ledger.share(self)
        return type(self)(self._ledger, self.slot, self._memory, self._len)

    close = Hold.release


class BufferPool(Lender[PooledBuffer]):
    """``count`` page-aligned buffers of ``capacity`` bytes, faulted at start. Thread-safe.

    With ``checked`` a sentinel behind each buffer is checked when the slot is returned. Raises SizingError for a count
    or capacity below 1, HostError when there is too little memory. The memory goes with the last buffer or lease.
    """

    def __init__(
        self, count: int, capacity: int, *, name: str = "buffers", checked: bool = False, sentinel: int = _SENTINEL
    ) -> None:
        self._slots, intact = make_slots(name, count, capacity, sentinel if checked else None)
        self._ledger = Ledger(name, count, size_bytes=capacity, intact=intact)
        self.capacity = capacity

    def _lend(self, slot: int) -> PooledBuffer:
        return PooledBuffer(self._ledger, slot, self._slots[slot])
