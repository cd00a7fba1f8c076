"""What has come in for the state machine, and when the data thread is woken for it."""

import time
from collections import deque
from typing import Final

from detectors.workers.monitor.messages import Input
from detectors.workers.wake import Wake

GATHER_S: Final = 0.002
"""Inputs that follow one another faster than this, s, are left to gather for as long: one wake then serves several."""

_MOST: Final = 8
"""Inputs that are left to gather at most: with so many, the wake costs little beside them."""


class Inbox:
    """Inputs of several threads, in their order. ``post`` is for any thread, the rest for the data thread.

    The data thread is woken for an input only while it listens, or when enough have gathered.
    """

    def __init__(self) -> None:
        self._inputs: deque[Input] = deque()
        self._wake: Wake | None = None
        self._listening = True
        self._enough = 1
        self._taken_s = 0.0
        self._flows = False
        """Whether inputs follow one another fast."""

    def open(self, wake: Wake) -> None:
        """Wake the data thread by this from now on."""
        self._wake = wake

    def post(self, one: Input) -> None:
        """Add an input."""
        self._inputs.append(one)
        if self._wake and (self._listening or len(self._inputs) == self._enough):
            self._wake.ring()

    def gather(self, slots: int) -> None:
        """If inputs come fast, let some come in: not so many that they could take all of so many slots."""
        self._enough = max(1, min(_MOST, slots // 4))
        if self._wake and self._flows:
            self._wake.rest(GATHER_S)

    def take(self) -> list[Input]:
        """Return what has come in, in its order. Before it waits, the data thread must ``listen``."""
        self._listening = False
        found = [self._inputs.popleft() for _ in range(len(self._inputs))]
        now = time.monotonic()
        self._flows = bool(found) and now - self._taken_s < 2 * GATHER_S
        if found:
            self._taken_s = now
        return found

    def listen(self) -> bool:
        """Be woken for the next input; False when there is one already."""
        self._listening = True
        return not self._inputs

    def peek(self) -> tuple[Input, ...]:
        """Return what has come in without taking it."""
        return tuple(self._inputs)
