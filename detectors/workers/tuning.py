"""How a worker's process is scheduled: the processors it may use, its priority, and when garbage is collected."""

import gc
import os
import time
from typing import Final

from detectors.config import WorkerTuning
from detectors.errors import HostError

_COLLECT_S: Final = 30.0
"""Interval between collections in quiet moments, s: libraries make a few cycles, the data path none."""


def apply_tuning(tuning: WorkerTuning) -> None:
    """Set the processors of this process and the priority of this thread. Raises HostError when the host refuses."""
    if tuning.cpus:
        try:
            os.sched_setaffinity(0, tuning.cpus)
        except OSError as error:
            raise HostError(
                f"tuning.cpus: found {list(tuning.cpus)}: {error.strerror}; this host has {os.cpu_count()} processors, "
                f"usable are {sorted(os.sched_getaffinity(0))}"
            ) from None
    if tuning.realtime_priority:
        try:
            # Only the thread that receives: those it starts, which write and publish, begin as ordinary ones.
            policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
            os.sched_setscheduler(0, policy, os.sched_param(tuning.realtime_priority))
        except OSError as error:
            raise HostError(
                f"tuning.realtime_priority: found {tuning.realtime_priority}: {error.strerror}; "
                "give the process CAP_SYS_NICE or set `ulimit -r`, or leave it out"
            ) from None


class QuietCollector:
    """Keeps the garbage collector off the data path: it runs only when the worker says that it has time."""

    def __init__(self) -> None:
        gc.collect()
        gc.freeze()
        gc.disable()
        self._next = time.monotonic() + _COLLECT_S

    def spare_moment(self) -> None:
        """Collect if it is time; what was alive at the start is not looked at again, so it takes a few ms at most."""
        if time.monotonic() >= self._next:
            gc.collect()
            self._next = time.monotonic() + _COLLECT_S

    def close(self) -> None:
        """Give collecting back to the interpreter."""
        gc.unfreeze()
        gc.enable()
