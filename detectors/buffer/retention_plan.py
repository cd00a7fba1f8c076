"""What retention deletes, and what stands in its way. Pure: looks at no disk and no clock.

The files of one range of pulses go together, of all modules of a detector, the oldest first; never one that a writer has
open. The newest of a module goes only for its age: a limit on size must not take the run that has just ended.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from detectors.frame import FILE_MOD, RecordShape

_IN_USE: Final = 3
"""Files of a module that a writer may have open: these stay whatever the limits are."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is kept; None: no limit."""

    keep_bytes: int | None = None
    """Most bytes on disk of all detectors together."""
    keep_hours: float | None = None
    """Longest time since the last write to a file, hours."""
    keep_free: int | None = None
    """Free space of each file system that is to be reached, bytes."""

    @property
    def active(self) -> bool:
        """Whether anything is ever deleted."""
        return (self.keep_bytes, self.keep_hours, self.keep_free) != (None, None, None)


@dataclass(frozen=True, slots=True)
class PulseFiles:
    """The data files of one range of pulses, of all modules of a detector."""

    detector: Path
    first_pulse: int
    paths: tuple[Path, ...]
    """One ``.bin`` of each module; the sidecars beside them belong to it."""
    nbytes: int
    """Bytes on disk; less than the file sizes, which have holes."""
    modified_ns: int
    """Last write to any of them, POSIX ns."""
    in_use: bool = False
    newest: bool = False
    """Whether one of them is the newest of its module."""
    device: int = 0
    """File system that they are on: to delete them makes room there only."""


def plan(
    files: Sequence[PulseFiles], limits: Limits, *, free_bytes: Mapping[int, int], now_ns: int
) -> list[PulseFiles]:
    """Return what to delete, the oldest first. ``free_bytes`` is by file system. Pure."""
    total = sum(each.nbytes for each in files)
    free = dict(free_bytes)
    chosen: list[PulseFiles] = []
    for each in sorted(files, key=lambda f: (f.modified_ns, f.first_pulse)):
        too_old = limits.keep_hours is not None and now_ns - each.modified_ns > limits.keep_hours * 3600e9
        too_much = limits.keep_bytes is not None and total > limits.keep_bytes
        too_full = limits.keep_free is not None and free[each.device] < limits.keep_free
        if not (too_old or too_much or too_full) or each.in_use or (each.newest and not too_old):
            continue
        chosen.append(each)
        total -= each.nbytes
        free[each.device] += each.nbytes
    return chosen


def obstacle(files: Sequence[PulseFiles], limits: Limits, free: Mapping[int, int], now_ns: int) -> str:
    """Return why the limits are not met; empty when they are.

    Whatever a plan would still want if nothing were in the way, is in the way.
    """
    free_to_go = [replace(each, in_use=False, newest=False) for each in files]
    for wanted in plan(free_to_go, limits, free_bytes=free, now_ns=now_ns):
        each = files[free_to_go.index(wanted)]
        reason = "are in use" if each.in_use else "are the newest"
        return f"{each.detector}: the files {each.first_pulse}.bin are to go but {reason}"
    full = [device for device, nbytes in free.items() if limits.keep_free is not None and nbytes < limits.keep_free]
    return "too little is free, and there is nothing left to delete that this server wrote" if full else ""


def least_bytes(shape: RecordShape, pulse_id_step: int) -> int:
    """Return the bytes of a module that are never deleted for a limit on size: the files that a writer may have open."""
    return _IN_USE * -(-FILE_MOD // pulse_id_step) * shape.record_bytes
