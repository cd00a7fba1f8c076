"""The host's free memory, and whether a plan fits: checked before anything is allocated."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from detectors.errors import HostError
from detectors.pools.available import mem_available
from detectors.pools.sizing import BufferPlan, size_text
from detectors.runtime_names import SHM_FOLDER


@dataclass(frozen=True, slots=True)
class Machine:
    """Free memory of the host, bytes."""

    mem_available: int
    shm_free: int

    @classmethod
    def read(cls, stale: Iterable[Path] = ()) -> "Machine":
        """Return what the host has now. ``stale`` are segments that will be replaced: their memory counts as free."""
        shm = os.statvfs(SHM_FOLDER)
        freed = 0
        for path in stale:
            with suppress(OSError):
                freed += path.stat().st_blocks * 512
        return cls(mem_available() + freed, shm.f_bavail * shm.f_frsize + freed)

    def shortage(self, plans: Sequence[BufferPlan], count: int | None = None) -> str:
        """Return one line on the memory that is short for the sum of the plans; empty when they fit.

        With ``count``, as if every pebble had at most that many slots.
        """
        memory = shared = 0
        for plan in plans:
            both, segment = plan.memory_at(min(count or plan.pebble.count, plan.pebble.count))
            memory += plan.dma.memory_bytes + both
            shared += segment
        if shared > self.shm_free:
            return f"{SHM_FOLDER}: the pebble needs {size_text(shared)}, free are {size_text(self.shm_free)}"
        if memory > self.mem_available:
            return f"memory: the buffers need {size_text(memory)}, available are {size_text(self.mem_available)}"
        return ""

    def largest_count(self, plans: Sequence[BufferPlan]) -> int | None:
        """Return the largest pebbleBufCount with which the plans would fit; None when not even 2 would."""
        count = max(plan.pebble.count for plan in plans)
        while count >= 2 and self.shortage(plans, count):
            count //= 2
        return count if count >= 2 else None

    def advice(self, plans: Sequence[BufferPlan]) -> str:
        """Return one line on the memory that is short and what to do about it; empty when the plans fit."""
        problem = self.shortage(plans)
        if not problem:
            return ""
        largest = self.largest_count(plans)
        if largest is None:
            return f"{problem}; not even pebbleBufCount = 2 would fit: free memory, or take smaller images"
        rx_count = max(plan.dma.count for plan in plans)
        lower = f" and a cfgRxCount below it (now {rx_count})" if rx_count >= largest else ""
        return f"{problem}; the largest pebbleBufCount that fits is {largest}: set it{lower}, or free memory"


def check_memory(plans: Sequence[BufferPlan], machine: Machine) -> None:
    """Raise HostError, naming the largest count that would fit, when the plans ask for more than the machine has."""
    if advice := machine.advice(plans):
        raise HostError(advice)
