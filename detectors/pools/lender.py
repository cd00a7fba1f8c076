"""What all pools share that lend any free slot: the ways to get one, and their counts."""

from typing import Generic, TypeVar

from detectors.pools.ledger import Hold, Ledger
from detectors.stats import PoolStats

L = TypeVar("L", bound=Hold)


class Lender(Generic[L]):
    """Base of a pool whose ``_lend`` makes the loan of a slot."""

    _ledger: Ledger

    def _lend(self, slot: int) -> L:
        raise NotImplementedError

    @property
    def size(self) -> int:
        """Slots in all."""
        return self._ledger.count

    @property
    def available(self) -> int:
        """Slots free at this moment."""
        return self._ledger.count - self._ledger.in_use

    def acquire(self) -> L:
        """Return a loan, waiting for one as long as it takes."""
        slot = self._ledger.take(timeout_s=None)
        assert slot is not None
        return self._lend(slot)

    def try_acquire(self) -> L | None:
        """Return a loan, or None when no slot is free."""
        slot = self._ledger.take()
        return None if slot is None else self._lend(slot)

    def try_acquire_timeout(self, timeout_s: float) -> L | None:
        """Return a loan, or None when no slot came free within ``timeout_s``."""
        slot = self._ledger.take(timeout_s=timeout_s)
        return None if slot is None else self._lend(slot)

    async def acquire_async(self) -> L:
        """Return a loan as ``acquire`` does; other tasks run meanwhile."""
        slot = await self._ledger.take_async()
        assert slot is not None
        return self._lend(slot)

    async def try_acquire_timeout_async(self, timeout_s: float) -> L | None:
        """Return a loan as ``try_acquire_timeout`` does; other tasks run meanwhile."""
        slot = await self._ledger.take_async(timeout_s)
        return None if slot is None else self._lend(slot)

    def stats(self) -> PoolStats:
        """Return a snapshot of the counters."""
        return self._ledger.stats()
