"""An ImageSink that records every call."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from detectors.sources.image_sink import Description
from detectors.sources.image_source import ImageSource
from detectors.wire.ntndarray import ArrayHead


@contextmanager
def watching(source: ImageSource, room: int | None = None) -> "Iterator[RecordingSink]":
    """What a source delivers, until the block ends; it must have kept the rules."""
    sink = RecordingSink(room)
    source.start(sink)
    try:
        yield sink
    finally:
        source.close()
    assert sink.faults == []


class RecordingSink:
    """Gives out slots of its own (as many as ``room``), and checks that the source keeps the rules."""

    def __init__(self, room: int | None = None) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.room = room
        self.faults: list[str] = []
        self.thread: int | None = None
        self._slot: np.ndarray | None = None
        self._last: np.ndarray | None = None
        self._nbytes: int | None = None
        self._news = threading.Condition(threading.RLock())

    def _note(self, *event: Any) -> None:
        here = threading.get_ident()
        if self.thread is None:
            self.thread = here
        elif self.thread != here:
            self.faults.append(f"{event[0]} came on another thread")
        if self._slot is not None and event[0] not in ("update", "abandon"):
            self.faults.append(f"{event[0]} came while a slot was out")
        with self._news:
            self.events.append(event)
            self._news.notify_all()

    def connected(self, description: Description) -> None:
        self._nbytes = description.payload_bytes
        self._note("connected", description)

    def disconnected(self, reason: str) -> None:
        self._note("disconnected", reason)

    def slot(self, nbytes: int) -> memoryview | None:
        if nbytes != self._nbytes:
            self.faults.append(f"a slot of {nbytes} was asked for, {self._nbytes} was announced")
        if self._slot is not None:
            self.faults.append("a second slot was asked for")
        if self.room == 0:
            return None
        if self.room is not None:
            self.room -= 1
        self._slot = np.full(nbytes, 0xEE, np.uint8)
        return memoryview(self._slot)

    def update(self, update: ArrayHead) -> None:
        slot = self._slot
        assert slot is not None
        self._note("update", update, slot.view(update.dtype).reshape(update.shape))
        self._slot, self._last = None, slot

    def last(self) -> memoryview | None:
        return None if self._last is None else memoryview(self._last)

    def abandon(self) -> None:
        if self._slot is None:
            self.faults.append("a slot was abandoned that was not out")
        self._note("abandon")
        self._slot = None

    def dropped(self, update: ArrayHead) -> None:
        self._note("dropped", update)

    def bad(self, reason: str) -> None:
        self._note("bad", reason)

    def empty(self) -> None:
        self._note("empty")

    def kinds(self) -> list[str]:
        with self._news:
            return [event[0] for event in self.events]

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        with self._news:
            return [event[1:] for event in self.events if event[0] == kind]

    def ids(self) -> list[int | None]:
        return [update.unique_id for update, _ in self.of("update")]

    def wait(self, condition: Callable[["RecordingSink"], bool], timeout_s: float = 30.0) -> None:
        """Wait until ``condition(self)``; fails with what came instead."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            while not condition(self):
                left = deadline - time.monotonic()
                assert left > 0, f"not within {timeout_s} s; came: {[str(e)[:200] for e in self.events[-20:]]}"
                self._news.wait(left)

    def wait_for(self, kind: str, count: int = 1, timeout_s: float = 30.0) -> None:
        """Wait for ``count`` events of ``kind``."""
        self.wait(lambda sink: len([e for e in sink.events if e[0] == kind]) >= count, timeout_s)
