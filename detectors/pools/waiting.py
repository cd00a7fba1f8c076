"""Threads and tasks that wait for a slot: first come, first served."""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict


class Waiter(ABC):
    """Waits for the slot ``want``, or for any with None; ``slot`` is the one it was given."""

    def __init__(self, want: int | None) -> None:
        self.want = want
        self.slot: int | None = None

    @abstractmethod
    def wake(self) -> bool:
        """Let the waiter go on; False when its event loop is closed."""


class ThreadWaiter(Waiter):
    """A waiting thread. The gate is a bare lock: ``threading.Event`` could deadlock when set by the garbage collector."""

    def __init__(self, want: int | None) -> None:
        super().__init__(want)
        self.gate = threading.Lock()
        self.gate.acquire()

    def wake(self) -> bool:
        """Open the gate."""
        self.gate.release()
        return True


class TaskWaiter(Waiter):
    """A waiting asyncio task; any slot will do."""

    def __init__(self) -> None:
        super().__init__(None)
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self._loop.create_future()

    def wake(self) -> bool:
        """Finish the future in its loop; False when the loop is closed."""
        try:
            self._loop.call_soon_threadsafe(self._finish)
        except RuntimeError:
            return False
        return True

    def _finish(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class WaitQueues:
    """A queue for each slot that is waited for, and one (None) for any slot. Not thread-safe."""

    def __init__(self) -> None:
        self._queues: dict[int | None, OrderedDict[Waiter, None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def __bool__(self) -> bool:
        return bool(self._queues)

    def add(self, waiter: Waiter) -> None:
        """Put a waiter at the end of the queue for what it wants."""
        self._queues.setdefault(waiter.want, OrderedDict())[waiter] = None

    def discard(self, waiter: Waiter) -> None:
        """Take a waiter out of its queue, if it is still there."""
        queue = self._queues.get(waiter.want)
        if queue is not None:
            queue.pop(waiter, None)
            self._drop_empty(waiter.want)

    def wanted(self) -> tuple[int | None, ...]:
        """Return what is waited for, the oldest queue first."""
        return tuple(self._queues)

    def wake_first(self, want: int | None) -> Waiter | None:
        """Take the first waiter for ``want`` out of its queue and wake it; None when there is none."""
        queue = self._queues.get(want, OrderedDict())
        while queue:
            waiter, _ = queue.popitem(last=False)
            self._drop_empty(want)
            if waiter.wake():
                return waiter
        return None

    def _drop_empty(self, want: int | None) -> None:
        if not self._queues[want]:
            del self._queues[want]
