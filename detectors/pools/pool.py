"""A pool of any objects: made once, lent out, reset when they come back.

Source of the interface: the object pool of rust-daq, ``daq-pool``.
"""

import copy
import logging
from collections.abc import Callable
from typing import Generic, TypeVar, cast

import numpy as np

from detectors.errors import SizingError
from detectors.pools.ledger import Hold, Ledger
from detectors.pools.lender import Lender

log = logging.getLogger(__name__)

T = TypeVar("T")


class Loaned(Hold, Generic[T]):
    """One object of a pool, on loan until ``release`` or the end of the ``with`` block.

    The object is looked up once, when it is lent: ``get`` and ``item`` take no lock.
    """

    __slots__ = ("_item", "_pool")

    def __init__(self, pool: "Pool[T]", slot: int, item: T) -> None:
        self.held, self.slot, self._ledger = True, slot, pool._ledger  # noqa: SLF001
        self._pool = pool
        self._item = item

    @property
    def item(self) -> T:
        """The object. Raises UseAfterReleaseError when the loan has ended."""
        if not self.held:  # spares the call
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
        """Give the object back. Raises DoubleReleaseError, or the error of the pool's reset: the slot is free then, too."""
        self._ledger.release(self, cleanup=self._reset if self._pool.reset else None)

    def _reset(self) -> None:
        try:
            if self._pool.reset is not None:
                self._pool.reset(self._item)
        except BaseException:
            self._pool.reset_errors += 1
            raise

    def _lost(self) -> None:
        # The reset runs in whatever thread the collector does: one that locks may meet its own lock.
        try:
            self._reset()
        except Exception:
            log.exception("%s: reset failed for slot %d", self._ledger.name, self.slot)


class Pool(Lender[Loaned[T]], Generic[T]):
    """``size`` objects from ``factory``, each passed to ``reset`` when it comes back. Thread-safe.

    A reset runs in the thread that releases, outside all locks. One that raises is counted in ``reset_errors`` and its
    error is raised by ``release``; the slot is free all the same. Loans keep the pool alive. Raises SizingError for a
    size below 1.
    """

    def __init__(
        self, size: int, factory: Callable[[], T], reset: Callable[[T], object] | None = None, *, name: str = "pool"
    ) -> None:
        self._ledger = Ledger(name, size)
        self._factory = factory
        self.reset = reset
        self._items = [factory() for _ in range(size)]
        self.reset_errors = 0

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

    def _lend(self, slot: int) -> Loaned[T]:
        return Loaned(self, slot, self._items[slot])


def _copy_into(target: object, source: object) -> bool:
    """Copy contents in place where that is possible; return whether it was."""
    if isinstance(target, np.ndarray) and isinstance(source, np.ndarray):
        to, origin = cast("np.ndarray", target), cast("np.ndarray", source)
        if to.shape == origin.shape and to.dtype == origin.dtype and not origin.dtype.hasobject:
            np.copyto(to, origin)
            return True
    elif isinstance(target, bytearray) and isinstance(source, bytearray):
        target[:] = source
        return True
    return False
