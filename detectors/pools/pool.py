"""A pool of any objects: made once, lent out, reset when they come back.

Source of the interface: the object pool of rust-daq, ``daq-pool``.
"""

import copy
import logging
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

import numpy as np

from detectors.errors import SizingError
from detectors.pools.ledger import Hold, Ledger
from detectors.stats import PoolStats

log = logging.getLogger(__name__)

T = TypeVar("T")


class Loaned(Hold, Generic[T]):
    """One object of a pool, on loan until ``release`` or the end of the ``with`` block.

    The object is looked up once, when it is lent: ``get`` and ``item`` take no lock.
    """

    __slots__ = ("_item", "_pool")

    def __init__(self, pool: "Pool[T]", slot: int, item: T) -> None:
        super().__init__(pool._ledger, slot)  # noqa: SLF001
        self._pool = pool
        self._item = item

    @property
    def item(self) -> T:
        """The object. Raises UseAfterReleaseError when the loan has ended."""
        if not self.held:
            self.check()
        return self._item

    @item.setter
    def item(self, value: T) -> None:
        self.check()
        self._item = value
        self._pool._items[self.slot] = value  # noqa: SLF001

    def get(self) -> T:
        """Return the object. Raises UseAfterReleaseError when the loan has ended."""
        return self.item

    @property
    def slot_index(self) -> int:
        """Number of the object's slot."""
        return self.slot

    def clone_item(self) -> T:
        """Return a deep copy of the object, and give the loan back."""
        clone = copy.deepcopy(self.item)
        self.release()
        return clone

    def try_clone(self) -> "Loaned[T] | None":
        """Return a loan of another slot with the same contents, or None when no slot is free."""
        source = self.item
        clone = self._pool.try_acquire()
        if clone is not None:
            try:
                if not _copy_into(clone.item, source):
                    clone.item = copy.deepcopy(source)
            except BaseException:
                clone.release()
                raise
        return clone

    def release(self) -> None:
        """Give the object back. Raises DoubleReleaseError, or what the pool's reset raises: the slot is free then, too."""
        self._pool._take_back(self)  # noqa: SLF001

    def _end(self) -> None:
        self.release()

    def _lost(self) -> None:
        # Here the reset runs wherever the collector does; a reset that locks should not rely on that.
        try:
            self._pool._reset_item(self._item)  # noqa: SLF001
        except Exception:
            log.exception("%s: reset failed for slot %d", self._ledger.name, self.slot)


class Pool(Generic[T]):
    """``size`` objects from ``factory``, each passed to ``reset`` when it comes back. Thread-safe.

    A reset runs in the thread that releases, outside all locks. One that raises is counted in ``reset_errors`` and its
    error goes to whoever released; the slot is free all the same. Loans keep the pool alive. Raises SizingError for a
    size below 1.
    """

    def __init__(
        self,
        size: int,
        factory: Callable[[], T],
        reset: Callable[[T], object] | None = None,
        *,
        name: str = "pool",
    ) -> None:
        self._ledger = Ledger(name, size)
        self._factory = factory
        self._reset = reset
        self._items = [factory() for _ in range(size)]
        self.reset_errors = 0

    @property
    def size(self) -> int:
        """Objects in all."""
        return self._ledger.count

    @property
    def available(self) -> int:
        """Objects free at this moment."""
        return self._ledger.count - self._ledger.in_use

    def acquire(self) -> Loaned[T]:
        """Return an object, waiting for one as long as it takes."""
        slot = self._ledger.take(timeout_s=None)
        assert slot is not None
        return Loaned(self, slot, self._items[slot])

    def try_acquire(self) -> Loaned[T] | None:
        """Return an object, or None when none is free."""
        slot = self._ledger.take()
        return None if slot is None else Loaned(self, slot, self._items[slot])

    def try_acquire_timeout(self, timeout_s: float) -> Loaned[T] | None:
        """Return an object, or None when none came free within ``timeout_s``."""
        slot = self._ledger.take(timeout_s=timeout_s)
        return None if slot is None else Loaned(self, slot, self._items[slot])

    async def acquire_async(self) -> Loaned[T]:
        """Return an object as ``acquire`` does; other tasks run meanwhile."""
        slot = await self._ledger.take_async()
        assert slot is not None
        return Loaned(self, slot, self._items[slot])

    async def try_acquire_timeout_async(self, timeout_s: float) -> Loaned[T] | None:
        """Return an object as ``try_acquire_timeout`` does; other tasks run meanwhile."""
        slot = await self._ledger.take_async(timeout_s)
        return None if slot is None else Loaned(self, slot, self._items[slot])

    def grow(self, more: int) -> None:
        """Add ``more`` objects. A pool never grows by itself: that would hide that its users are too slow.

        Raises SizingError for less than 1.
        """
        if more < 1:
            raise SizingError(f"{self._ledger.name}: found a growth of {more}, expected at least 1")
        self._items.extend([self._factory() for _ in range(more)])
        self._ledger.grow(more)
        stats = self._ledger.stats()
        log.warning(
            "%s: back-pressure: grown by %d to %d slots after %d misses and %.3f s of waiting, %d in use at most",
            self._ledger.name, more, stats.count, stats.misses, stats.wait_s, stats.high_water,
        )  # fmt: skip

    def stats(self) -> PoolStats:
        """Return a snapshot of the counters."""
        return self._ledger.stats()

    def _take_back(self, loan: Loaned[T]) -> None:
        cleanup = None if self._reset is None else partial(self._reset_item, loan._item)  # noqa: SLF001
        self._ledger.release(loan, cleanup=cleanup)

    def _reset_item(self, item: T) -> None:
        if self._reset is None:
            return
        try:
            self._reset(item)
        except BaseException:
            self.reset_errors += 1
            raise


def _copy_into(target: object, source: object) -> bool:
    """Copy contents in place where that is possible; return whether it was."""
    if isinstance(target, np.ndarray) and isinstance(source, np.ndarray):
        if target.shape == source.shape and target.dtype == source.dtype and not source.dtype.hasobject:
            np.copyto(target, source)
            return True
    elif isinstance(target, bytearray) and isinstance(source, bytearray):
        target[:] = source
        return True
    return False
