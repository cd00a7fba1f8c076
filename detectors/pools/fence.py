"""The memory barrier that a sequence lock needs, where the processor does not keep the order of memory by itself."""

import platform
from collections.abc import Callable
from threading import Lock
from typing import Final

_ORDERED: Final = ("x86_64", "AMD64", "i686", "i386")
"""Processors on which stores become visible in their order, and loads are done in theirs."""


def fence_for(machine: str) -> Callable[[], None] | None:
    """Return a full memory barrier for a processor; None where none is needed."""
    return None if machine in _ORDERED else _release_then_acquire


def _release_then_acquire() -> None:
    """No load or store crosses this call in either direction.

    Nothing moves down past a release nor up past an acquire, and on arm64 (as in C++'s sequential consistency) no acquire
    moves up past a release before it. The lock is a new one for each call, so that threads need not share it.
    """
    lock = Lock()
    lock.acquire()
    lock.release()
    lock.acquire()


FENCE: Final = fence_for(platform.machine())
"""The barrier of this machine: ``if FENCE is not None: FENCE()``."""
