"""Who holds which slot: the book that every pool keeps.

A slot is free, loaned to one holder who may write, or leased to ``n`` holders who may read; each holder is a ``Hold``
object. The ledger counts, keeps the order of claims, and lets threads and tasks wait for a slot: the longest waiter is
handed the slot by whoever returns it.
"""

import asyncio
import logging
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from detectors.errors import DoubleReleaseError, PoolError, SizingError, UseAfterReleaseError
from detectors.stats import PoolStats

log = logging.getLogger(__name__)


class Hold:
    """One hold on one slot of a ledger. Collected unreleased, it gives the slot back and says so in the log."""

    __slots__ = ("_ledger", "held", "slot")

    def __init__(self, ledger: "Ledger", slot: int) -> None:
        self.held = True
        """Until released. Only the ledger changes it, inside its lock."""
        self.slot = slot
        self._ledger = ledger

    def __bool__(self) -> bool:
        return True  # whatever its length: ``if buffer := pool.try_acquire()`` must see an empty buffer

    def __enter__(self) -> Self:
        self.check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.held:
            self._end()

    def __del__(self) -> None:
        if getattr(self, "held", False) and not sys.is_finalizing():
            self.held = False
            log.warning("%s: slot %d was not released, its holder is gone; taken back", self._ledger.name, self.slot)
            self._lost()
            self._ledger.orphan(self.slot)

    def check(self) -> None:
        """Raise UseAfterReleaseError when the hold has ended."""
        if not self.held:
            raise UseAfterReleaseError(
                f"{self._ledger.name}: slot {self.slot} was used after its release; keep the hold as long as its memory"
            )

    def _end(self) -> None:
        """End the hold at the end of a ``with`` block."""
        self._ledger.release(self)

    def _lost(self) -> None:
        """Leave the slot in order when the hold was collected unreleased. May run anywhere: must take no lock."""


class _Waiter(Protocol):
    want: int | None
    slot: int | None

    def wake(self) -> bool:
        """Let the waiter go on; False when nobody waits there any more."""
        ...


class _Thread:
    """A waiting thread. The gate is a bare lock: ``threading.Event`` could deadlock when woken by the collector."""

    def __init__(self, want: int | None) -> None:
        self.want = want
        self.slot: int | None = None
        self.gate = threading.Lock()
        self.gate.acquire()

    def wake(self) -> bool:
        self.gate.release()
        return True


class _Task:
    """A waiting asyncio task."""

    def __init__(self, want: int | None) -> None:
        self.want = want
        self.slot: int | None = None
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self._loop.create_future()

    def wake(self) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._finish)
        except RuntimeError:  # the loop is closed
            return False
        return True

    def _finish(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class Ledger:
    """The book of ``count`` slots of ``size_bytes`` each.

    With ``by_slot`` every claim names its slot, at most ``limit`` slots are in use at once, and the order of claims is
    kept to notice releases out of it; without, any free slot is given, the last one returned first since its memory is
    in the caches. ``intact`` is asked of a slot that becomes free; its False is counted as an overrun.

    Thread-safe. The lock is never held while foreign code runs. A collected ``Hold`` may come at any moment, also while
    its own thread is inside the lock: it leaves its slot in ``_orphans``, and either gets the lock itself or is seen by
    the one who has it, who looks after letting go.
    """

    def __init__(
        self,
        name: str,
        count: int,
        *,
        size_bytes: int = 0,
        by_slot: bool = False,
        limit: int | None = None,
        intact: Callable[[int], bool] | None = None,
    ) -> None:
        if count < 1:
            raise SizingError(f"{name}: found a count of {count}, expected at least 1")
        self.name = name
        self._size_bytes = size_bytes
        self._limit = count if limit is None else limit
        self._intact = intact
        self._holds = [0] * count
        self._free = None if by_slot else list(reversed(range(count)))
        self._claimed: OrderedDict[int, None] = OrderedDict()
        self._lock = threading.Lock()
        self._waiters: deque[_Waiter] = deque()
        self._orphans: deque[int] = deque()
        self._in_use = self._high_water = self._acquires = self._returns = 0
        self._misses = self._exhausted = self._overruns = self._out_of_order = 0
        self._wait_s = 0.0

    @property
    def count(self) -> int:
        """Slots in all."""
        return len(self._holds)

    @property
    def in_use(self) -> int:
        """Slots loaned or leased."""
        return self._in_use

    def holds(self, slot: int) -> int:
        """Return how many hold a slot: 0 when it is free."""
        return self._holds[slot]

    def take(self, want: int | None = None, timeout_s: float | None = 0.0) -> int | None:
        """Return a slot (``want``, where the ledger is by slot) for one new Hold, waiting up to ``timeout_s``.

        None: no slot came free in time, counted as exhausted. A ``timeout_s`` of None waits for ever.
        """
        waiter = None
        with self._lock:
            slot = self._grant(want)
            if slot is None:
                self._misses += 1
                if timeout_s is not None and timeout_s <= 0:
                    self._exhausted += 1
                else:
                    waiter = _Thread(want)
                    self._waiters.append(waiter)
        if self._orphans:
            self._reap()
        if waiter is None:
            return slot
        started = time.monotonic()
        try:
            waiter.gate.acquire(timeout=-1 if timeout_s is None else min(timeout_s, threading.TIMEOUT_MAX))
        except BaseException:
            self._leave(waiter, started)
            raise
        return self._settle(waiter, started)

    def take_free(self, want: int) -> bool:
        """Take ``want`` for one new Hold if it is free now. It is no miss when it is not: the caller can do without."""
        with self._lock:
            granted = self._grant(want) is not None
        if self._orphans:
            self._reap()
        return granted

    async def take_async(self, timeout_s: float | None = None) -> int | None:
        """Return a slot as ``take`` does, letting other tasks run meanwhile; nobody polls."""
        with self._lock:
            slot = self._grant(None)
            if slot is None:
                self._misses += 1
                waiter = _Task(None)
                self._waiters.append(waiter)
            else:
                waiter = None
        if self._orphans:
            self._reap()
        if waiter is None:
            return slot
        started = time.monotonic()
        try:
            await asyncio.wait((waiter.future,), timeout=timeout_s)
        except BaseException:
            self._leave(waiter, started)
            raise
        return self._settle(waiter, started)

    def share(self, hold: Hold) -> None:
        """Count one more holder of the slot of ``hold``. Raises UseAfterReleaseError when that has ended."""
        with self._lock:
            hold.check()
            self._holds[hold.slot] += 1
        if self._orphans:
            self._reap()

    def hand_over(self, hold: Hold) -> None:
        """End ``hold`` and keep its slot, for another Hold.

        Raises UseAfterReleaseError when it has ended already.
        """
        with self._lock:
            hold.check()
            hold.held = False
        if self._orphans:
            self._reap()

    def release(self, hold: Hold, *, event: bool = True, cleanup: Callable[[], object] | None = None) -> None:
        """End ``hold``; the last hold on a slot frees it.

        With ``event`` False the slot never came to hold an event, so its release is not out of any order. ``cleanup``
        runs outside the lock, between the end of the hold and that of the slot; what it raises is raised, and the slot
        freed. Raises DoubleReleaseError when ``hold`` has ended already.
        """
        with self._lock:
            if not hold.held:
                raise DoubleReleaseError(f"{self.name}: slot {hold.slot} was released twice; release each hold once")
            hold.held = False
            if cleanup is None:
                self._drop(hold.slot, event=event)
        if self._orphans:
            self._reap()
        if cleanup is None:
            return
        try:
            cleanup()
        finally:
            with self._lock:
                self._drop(hold.slot, event=event)
            if self._orphans:
                self._reap()

    def orphan(self, slot: int) -> None:
        """Count off one hold whose Hold was collected. May be called anywhere, even inside the lock."""
        self._orphans.append(slot)
        self._reap()

    def grow(self, more: int) -> None:
        """Add ``more`` free slots and serve those who wait."""
        if self._free is None:
            raise PoolError(f"{self.name}: its slots follow from its count, so it cannot grow")
        with self._lock:
            first = len(self._holds)
            self._holds.extend([0] * more)
            self._free.extend(range(first, first + more))
            self._limit += more
            self._serve()
        if self._orphans:
            self._reap()

    def stats(self) -> PoolStats:
        """Return a snapshot that agrees with itself."""
        with self._lock:
            stats = PoolStats(
                count=len(self._holds),
                size_bytes=self._size_bytes,
                total_bytes=self._size_bytes * len(self._holds),
                in_use=self._in_use,
                high_water=self._high_water,
                acquires=self._acquires,
                returns=self._returns,
                misses=self._misses,
                exhausted=self._exhausted,
                overruns=self._overruns,
                out_of_order=self._out_of_order,
                wait_s=self._wait_s,
            )
        if self._orphans:
            self._reap()
        return stats

    # Below: called with the lock held, but for the last three.

    def _grant(self, want: int | None) -> int | None:
        if want is None:
            if not self._free:
                return None
            slot = self._free.pop()
        else:
            if self._holds[want] or self._in_use >= self._limit:
                return None
            slot = want
            self._claimed[slot] = None
        self._holds[slot] = 1
        self._in_use += 1
        self._acquires += 1
        if self._in_use > self._high_water:  # noqa: PLR1730  a call of max() takes longer than all the rest
            self._high_water = self._in_use
        return slot

    def _drop(self, slot: int, *, event: bool) -> None:
        self._holds[slot] -= 1
        if self._holds[slot]:
            return
        self._in_use -= 1
        self._returns += 1
        if self._intact is not None and not self._intact(slot):
            self._overruns += 1
        if self._free is not None:
            self._free.append(slot)
        else:
            if event and next(iter(self._claimed)) != slot:
                self._out_of_order += 1
            del self._claimed[slot]
        if self._waiters:
            self._serve()

    def _serve(self) -> None:
        for waiter in tuple(self._waiters):
            slot = self._grant(waiter.want)
            if slot is None:
                continue
            self._waiters.remove(waiter)
            waiter.slot = slot
            if not waiter.wake():
                waiter.slot = None
                self._acquires -= 1
                self._in_use -= 1
                self._holds[slot] = 0
                self._claimed.pop(slot, None)
                if self._free is not None:
                    self._free.append(slot)

    def _settle(self, waiter: _Waiter, started: float) -> int | None:
        """Return what the waiter was given; the lock decides between a slot in the last moment and none in time."""
        with self._lock:
            self._wait_s += time.monotonic() - started
            if waiter.slot is None:
                self._waiters.remove(waiter)
                self._exhausted += 1
        if self._orphans:
            self._reap()
        return waiter.slot

    def _leave(self, waiter: _Waiter, started: float) -> None:
        """Take back a wait that was interrupted, and the slot if it was given already."""
        with self._lock:
            self._wait_s += time.monotonic() - started
            if waiter.slot is not None:
                self._drop(waiter.slot, event=False)
            elif waiter in self._waiters:  # not so when its event loop was found closed
                self._waiters.remove(waiter)
        if self._orphans:
            self._reap()

    def _reap(self) -> None:
        # Whoever fails to get the lock leaves the work to its holder, who comes here after letting go.
        while self._orphans and self._lock.acquire(blocking=False):
            try:
                while self._orphans:
                    self._drop(self._orphans.popleft(), event=False)
            finally:
                self._lock.release()
