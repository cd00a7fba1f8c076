"""What waits for the thread of an output stage: frames, and calls that other threads queue behind them."""

import queue
from collections import deque

from detectors.outputs.queued_call import QueuedCall
from detectors.pools.pebble import PebbleLease


class FrameQueue:
    """Frames and calls in their order, but for calls that are overtaken when the oldest frame is dropped. Thread-safe."""

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[PebbleLease | QueuedCall] = queue.SimpleQueue()
        self._overtaken: deque[QueuedCall] = deque()
        # Called for every frame: without a call of ours around it.
        self.put, self.empty = self._items.put, self._items.empty

    def next(self) -> PebbleLease | QueuedCall | None:
        """Take out what is next; None when nothing waits."""
        try:
            return self._items.get_nowait()
        except queue.Empty:
            return None

    def wait(self, timeout_s: float) -> PebbleLease | QueuedCall | None:
        """Take out what is next; None when nothing came within ``timeout_s``. For the stage's thread."""
        try:
            return self._items.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def overtake(self) -> PebbleLease | None:
        """Take out the oldest frame that waits; None when none does. Calls before it are left to ``run_overtaken``."""
        overtaken = False
        while isinstance(item := self.next(), QueuedCall):
            if item.action is not _nothing:
                self._overtaken.append(item)
                overtaken = True
        if overtaken:
            self._items.put(QueuedCall(_nothing))  # wakes the stage for them
        return item

    def clear(self) -> int:
        """Drop the frames that wait and cancel the calls; return how many frames it were."""
        dropped = 0
        while (item := self.next()) is not None:
            if isinstance(item, QueuedCall):
                item.answer.cancel()
            else:
                item.close()
                dropped += 1
        return dropped

    def run_overtaken(self) -> None:
        """Run the calls that were overtaken. For the stage's thread."""
        while self._overtaken:
            self._overtaken.popleft().run()


def _nothing() -> None:
    """Wake the stage, and no more."""
