"""Threads and tasks that wait for the slot ``want`` of a ledger, or for any with None; ``slot`` is what they were given."""

import asyncio
import threading


class ThreadWaiter:
    """A waiting thread. The gate is a bare lock: ``threading.Event`` could deadlock when set by the garbage collector."""

    def __init__(self, want: int | None) -> None:
        self.want = want
        self.slot: int | None = None
        self.gate = threading.Lock()
        self.gate.acquire()

    def wake(self) -> bool:
        """Open the gate."""
        self.gate.release()
        return True


class TaskWaiter:
    """A waiting asyncio task; any slot will do."""

    def __init__(self) -> None:
        self.want: int | None = None
        self.slot: int | None = None
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
