"""How a worker's process is scheduled: the processors it may use, its priority, and when garbage is collected."""

import contextlib
import gc
import os
import time
from collections.abc import Generator
from typing import Final

from detectors.config import WorkerTuning
from detectors.errors import HostError

LOWEST_REALTIME: Final = 1
"""Enough to go before all ordinary threads."""

_COLLECT_S: Final = 30.0
"""Interval between collections in quiet moments, s: libraries make a few cycles, the data path none."""

_OVERDUE_S: Final = 90.0
"""A collection that found no quiet moment for this long, s, is done while data comes."""


def use_processors(tuning: WorkerTuning) -> None:
    """Keep this process to its processors. Raises HostError when the host does not have them."""
    if not tuning.cpus:
        return
    try:
        os.sched_setaffinity(0, tuning.cpus)
    except OSError as error:
        raise HostError(
            f"tuning.cpus: found {list(tuning.cpus)}: {error.strerror}; this host has {os.cpu_count()} processors, "
            f"usable are {sorted(os.sched_getaffinity(0))}"
        ) from None


def become_receiver(tuning: WorkerTuning) -> None:
    """Let this thread go before others: it receives. Threads that it starts, which write and publish, are ordinary ones.

    Raises HostError when a real-time priority is configured and refused.
    """
    _go_first(tuning, os.SCHED_RESET_ON_FORK)


@contextlib.contextmanager
def starting_receivers(tuning: WorkerTuning) -> Generator[None]:
    """Let the threads that are started meanwhile go before others: they receive. This thread is the same afterwards.

    Raises HostError when a real-time priority is configured and refused.
    """
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        _go_first(tuning, 0)
        yield
    finally:
        os.sched_setscheduler(0, policy, parameter)


def _go_first(tuning: WorkerTuning, flags: int) -> None:
    wanted = tuning.realtime_priority
    if wanted == 0:
        return
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | flags, os.sched_param(wanted or LOWEST_REALTIME))
    except OSError as error:
        if wanted:
            raise HostError(
                f"tuning.realtime_priority: found {wanted}: {error.strerror}; "
                "give the process CAP_SYS_NICE or set `ulimit -r`, or leave it out"
            ) from None


class QuietCollector:
    """Keeps the garbage collector off the data path: it runs in quiet moments, and seldom when there are none.

    What was alive at the start is not looked at again, so that a collection takes a few ms at most.
    """

    def __init__(self) -> None:
        gc.collect()
        gc.freeze()
        gc.disable()
        self._next = time.monotonic() + _COLLECT_S

    def look(self, now: float, *, quiet: bool) -> None:
        """Collect if it is time, or long overdue. ``now``: monotonic, s; ``quiet``: nothing is coming."""
        if now >= self._next + (0 if quiet else _OVERDUE_S):
            gc.collect()
            self._next = now + _COLLECT_S

    def close(self) -> None:
        """Give collecting back to the interpreter."""
        gc.unfreeze()
        gc.enable()
