"""What retention deletes, and what stands in its way. Pure: looks at no disk and no clock.

Whole data folders go, the oldest first and all modules of a detector together; never one that a writer has open. The
newest of a module goes only for its age: a limit on size must not take the run that has just ended.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Limits:
    """What is kept; None: no limit."""

    keep_bytes: int | None = None
    """Most bytes on disk of all detectors together."""
    keep_hours: float | None = None
    """Longest time since the last write to a folder, hours."""
    keep_free: int | None = None
    """Free space of each file system that is to be reached, bytes."""

    @property
    def active(self) -> bool:
        """Whether anything is ever deleted."""
        return (self.keep_bytes, self.keep_hours, self.keep_free) != (None, None, None)


@dataclass(frozen=True, slots=True)
class DataFolder:
    """One data folder of a detector: the same pulses of all its modules."""

    detector: Path
    number: int
    paths: tuple[Path, ...]
    nbytes: int
    """Bytes on disk; less than the file sizes, which have holes."""
    modified_ns: int
    """Last write to any of its files, POSIX ns."""
    in_use: bool = False
    newest: bool = False
    """Whether it is the newest of a module."""
    blocked: str = ""
    """Why it cannot be deleted, although it is not in use: something in it is not ours."""
    device: int = 0
    """File system that it is on: to delete it makes room there only."""


def plan(
    folders: Sequence[DataFolder], limits: Limits, *, free_bytes: Mapping[int, int], now_ns: int
) -> list[DataFolder]:
    """Return the folders to delete, the oldest first. ``free_bytes`` is by file system. Pure."""
    total = sum(folder.nbytes for folder in folders)
    free = dict(free_bytes)
    doomed: list[DataFolder] = []
    for folder in sorted(folders, key=lambda f: (f.modified_ns, f.number)):
        too_old = limits.keep_hours is not None and now_ns - folder.modified_ns > limits.keep_hours * 3600e9
        too_much = limits.keep_bytes is not None and total > limits.keep_bytes
        too_full = limits.keep_free is not None and free[folder.device] < limits.keep_free
        if not (too_old or too_much or too_full):
            continue
        if folder.in_use or folder.blocked or (folder.newest and not too_old):
            continue
        doomed.append(folder)
        total -= folder.nbytes
        free[folder.device] += folder.nbytes
    return doomed


def obstacle(folders: Sequence[DataFolder], limits: Limits, free: Mapping[int, int], now_ns: int) -> str:
    """Return why the limits are not met; empty when they are.

    Whatever a plan would still want if nothing were in the way, is in the way.
    """
    free_to_go = [replace(f, in_use=False, newest=False, blocked="") for f in folders]
    for wanted in plan(free_to_go, limits, free_bytes=free, now_ns=now_ns):
        folder = folders[free_to_go.index(wanted)]
        reason = folder.blocked or ("is in use" if folder.in_use else "is the newest")
        return f"{folder.detector}: data folder {folder.number} is to go but {reason}"
    return ""
