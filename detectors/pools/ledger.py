"""The bookkeeping of every pool: which slots are free, loaned to one writer, or leased to ``n`` readers.

Each loan and lease is a ``Hold``. The ledger counts, keeps the order of claims, and lets threads and tasks wait for a
slot: each slot returned goes to the longest waiter.
"""

import asyncio
import contextlib
import logging
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Self

from detectors.errors import DoubleReleaseError, PoolError, SizingError, UseAfterReleaseError
from detectors.stats import PoolStats

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Waiter:
    """A thread or task that waits for the slot ``want``, or for any with None."""

    want: int | None
    wake: Callable[[], object]
    """Called under the lock. Raises RuntimeError when the task's event loop is closed."""
    slot: int | None = None
    """The slot that it was given."""


class Hold:
    """One hold on one slot of a ledger. Collected unreleased, it gives the slot back, and the ledger counts it."""

    __slots__ = ("_ledger", "held", "slot")

    def __init__(self, ledger: "Ledger", slot: int) -> None:
        self.held = True
        """Until released. Only the ledger changes it, under its lock."""
        self.slot = slot
        self._ledger = ledger

    def __bool__(self) -> bool:
        return True  # whatever its length: ``if buffer := pool.try_acquire()`` must see an empty buffer

    def __enter__(self) -> Self:
        self.check()
        return self

    def __exit__(self, *_: object) -> None:
        if self.held:
            self.release()

    def __del__(self) -> None:
        if getattr(self, "held", False) and not sys.is_finalizing():
            self.held = False
            try:
                self._lost()
            finally:
                self._ledger.orphan(self.slot)
            # Last, since a log handler may raise.
            log.debug("%s: slot %d was not released; returned when it was collected", self._ledger.name, self.slot)

    def check(self) -> None:
        """Raise UseAfterReleaseError when the hold has ended."""
        if not self.held:
            raise UseAfterReleaseError(
                f"{self._ledger.name}: slot {self.slot} was used after its release; keep the hold as long as its memory"
            )

    def release(self) -> None:
        """End the hold, as leaving a ``with`` block does. Raises DoubleReleaseError when it has ended already."""
        self._ledger.release(self)

    def _lost(self) -> None:
        """Clean the slot of a hold that was collected unreleased. May run anywhere: must take no lock."""


class Ledger:
    """``count`` slots of ``size_bytes`` each, and their holds. Thread-safe; no foreign code runs under the lock.

    With ``by_slot`` every claim names its slot, at most ``limit`` slots are in use at once, and the order of claims is
    kept to notice releases out of it; without, any free slot is given, the last one returned first since its memory is
    in the caches. ``intact`` is called with each slot that becomes free; its False is counted as an overrun.

    ``with self`` holds the lock. A Hold may be collected at any moment, also while its own thread holds the lock. So it
    leaves its slot in ``_orphans`` and either gets the lock at once, or leaves the work to the lock's holder, which calls
    ``_reap`` after releasing it.
    """

    # ``__enter__`` is the lock's own ``acquire``, stored in a slot: a Python method here would cost 0.1 us a call.
    __slots__ = ("__dict__", "__enter__", "__weakref__")

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
        self._lock = threading.Lock()
        self.__enter__ = self._lock.acquire
        self._orphans: deque[int] = deque()
        self.name = name
        self._size_bytes = size_bytes
        self._limit = count if limit is None else limit
        self._intact = intact
        self.count = count
        self.holds = [0] * count
        """How many hold each slot: 0 when it is free."""
        self.in_use = 0
        """Slots loaned or leased."""
        self._free = None if by_slot else list(reversed(range(count)))
        self._claimed: OrderedDict[int, None] = OrderedDict()
        self._waiters: OrderedDict[_Waiter, None] = OrderedDict()
        self._high_water = self._acquires = self._returns = self._collected = 0
        self._misses = self._exhausted = self._overruns = self._out_of_order = 0
        self._wait_s = 0.0

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._lock.release()
        if self._orphans:
            self._reap()

    def take(self, want: int | None = None, timeout_s: float | None = 0.0) -> int | None:
        """Return a slot (``want``, where the ledger is by slot) for one new Hold, waiting up to ``timeout_s``.

        None: no slot came free in time, counted as exhausted. A ``timeout_s`` of None waits without limit.
        """
        with self:
            slot = self._grant(want)
            if slot is not None:
                return slot
            self._misses += 1
            if timeout_s is not None and timeout_s <= 0:
                self._exhausted += 1
                return None
            gate = threading.Lock()  # threading.Event could deadlock when set by the garbage collector
            gate.acquire()
            waiter = _Waiter(want, gate.release)
            self._waiters[waiter] = None
        with self._waiting(waiter):
            gate.acquire(timeout=-1 if timeout_s is None else min(timeout_s, threading.TIMEOUT_MAX))
        return waiter.slot

    def take_free(self, want: int, *, in_order: bool = True) -> bool:
        """Take ``want`` for one new Hold if it is free now; a slot in use is not counted as a miss.

        Without ``in_order`` it has no place in the order of claims before ``enlist``.
        """
        with self:
            taken = self._grant(want) is not None
            if taken and not in_order:
                del self._claimed[want]
            return taken

    def enlist(self, slot: int) -> None:
        """Let a slot that was not taken in order be the last one claimed."""
        with self:
            self._claimed[slot] = None

    async def take_async(self, timeout_s: float | None = None) -> int | None:
        """Return any slot as ``take`` does, letting other tasks run meanwhile."""
        with self:
            slot = self._grant(None)
            if slot is not None:
                return slot
            self._misses += 1
            loop = asyncio.get_running_loop()
            given: asyncio.Future[None] = loop.create_future()
            waiter = _Waiter(None, lambda: loop.call_soon_threadsafe(given.set_result, None))
            self._waiters[waiter] = None
        with self._waiting(waiter):
            await asyncio.wait((given,), timeout=timeout_s)
        return waiter.slot

    def share(self, hold: Hold) -> None:
        """Count one more holder of the slot of ``hold``. Raises UseAfterReleaseError when that has ended."""
        with self:
            hold.check()
            self.holds[hold.slot] += 1

    def hand_over(self, hold: Hold) -> None:
        """End ``hold`` and keep its slot, for another Hold. Raises UseAfterReleaseError when it has ended already."""
        with self:
            hold.check()
            hold.held = False

    def release(self, hold: Hold, *, event: bool = True, cleanup: Callable[[], object] | None = None) -> None:
        """End ``hold``; the last hold on a slot frees it. Raises DoubleReleaseError when ``hold`` has ended already.

        With ``event`` False the slot never held an event, so its release is not out of any order. ``cleanup`` runs
        outside the lock, after the hold has ended and before the slot is free; what it raises is raised, and the slot
        freed.
        """
        with self:
            if not hold.held:
                raise DoubleReleaseError(f"{self.name}: slot {hold.slot} was released twice; release each hold once")
            hold.held = False
            if cleanup is None:
                self._drop(hold.slot, event=event)
                return
        try:
            cleanup()
        finally:
            with self:
                self._drop(hold.slot, event=event)

    def orphan(self, slot: int) -> None:
        """End one hold whose Hold was collected. May be called anywhere, even under the lock."""
        self._orphans.append(slot)
        self._reap()

    def grow(self, more: int) -> None:
        """Add ``more`` free slots and serve the waiters."""
        if self._free is None:
            raise PoolError(f"{self.name}: its slots follow from its count, so it cannot grow")
        with self:
            self.holds.extend([0] * more)
            self._free.extend(range(self.count, self.count + more))
            self.count += more
            self._serve()

    def stats(self) -> PoolStats:
        """Return a snapshot that agrees with itself."""
        with self:
            return PoolStats(
                count=self.count,
                size_bytes=self._size_bytes,
                total_bytes=self._size_bytes * self.count,
                in_use=self.in_use,
                high_water=self._high_water,
                acquires=self._acquires,
                returns=self._returns,
                collected=self._collected,
                misses=self._misses,
                exhausted=self._exhausted,
                overruns=self._overruns,
                out_of_order=self._out_of_order,
                wait_s=self._wait_s,
            )

    @contextlib.contextmanager
    def _waiting(self, waiter: _Waiter) -> Generator[None]:
        """Count the time in the block, and settle in the end what the waiter was given.

        The lock decides between a slot in the last moment and none in time. Interrupted, the waiter gives its slot back.
        """
        started = time.monotonic()
        interrupted = True
        try:
            yield
            interrupted = False
        finally:
            with self:
                self._wait_s += time.monotonic() - started
                self._waiters.pop(waiter, None)
                if interrupted and waiter.slot is not None:
                    self._drop(waiter.slot, event=False)
                elif not interrupted and waiter.slot is None:
                    self._exhausted += 1

    def _reap(self) -> None:
        while self._orphans and self._lock.acquire(blocking=False):
            try:
                while self._orphans:
                    slot = self._orphans.popleft()
                    self._collected += 1
                    self._drop(slot, event=False)
            finally:
                self._lock.release()

    # All below are called under the lock.

    def _is_free(self, want: int | None) -> bool:
        return bool(self._free) if want is None else not self.holds[want] and self.in_use < self._limit

    def _grant(self, want: int | None) -> int | None:
        if want is None:
            if not self._free:
                return None
            slot = self._free.pop()
        else:
            if self.holds[want] or self.in_use >= self._limit:
                return None
            slot = want
            self._claimed[slot] = None
        self.holds[slot] = 1
        self.in_use += 1
        self._acquires += 1
        if self.in_use > self._high_water:  # noqa: PLR1730  a call of max() takes longer than all the rest
            self._high_water = self.in_use
        return slot

    def _drop(self, slot: int, *, event: bool) -> None:
        self.holds[slot] -= 1
        if self.holds[slot]:
            return
        self.in_use -= 1
        self._returns += 1
        if self._free is not None:
            self._free.append(slot)
        else:
            if event and next(iter(self._claimed)) != slot:
                self._out_of_order += 1
            self._claimed.pop(slot, None)
        if self._intact is not None and not self._intact(slot):
            self._overruns += 1
        if self._waiters:
            self._serve()

    def _serve(self) -> None:
        # Without a free slot the waiters need not be asked one by one; a ledger by slot has few.
        while self._free is None or self._free:
            waiter = next((w for w in self._waiters if self._is_free(w.want)), None)
            if waiter is None:
                return
            del self._waiters[waiter]
            with contextlib.suppress(RuntimeError):
                waiter.wake()
                waiter.slot = self._grant(waiter.want)  # it sees this only when it gets the lock
