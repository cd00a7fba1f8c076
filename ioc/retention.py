"""Retention of the buffer on disk: one keeper for the folders of all sources, its limits as setpoints.

It is in the IOC because the limits are for all sources together: workers that run alone delete nothing.
"""

import math
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from detectors.buffer.retention import RetentionKeeper, RetentionStats
from detectors.buffer.retention_plan import Limits
from detectors.config import DiskSection
from detectors.errors import CommandError, HostError
from ioc.bindings import Handler

OWNER: Final = "retention"
"""Stands for the retention in bindings."""

_GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class LimitsShown:
    """The limits in force; 0: none."""

    size_gib: float = 0.0
    hours: float = 0.0
    free_gib: float = 0.0


@dataclass(frozen=True, slots=True)
class RetentionStatus:
    """The values of the retention's records."""

    keep: LimitsShown = field(default_factory=LimitsShown)
    stats: RetentionStats = field(default_factory=RetentionStats)


class Retention:
    """The keeper of a configuration that writes to disk; it deletes what the server with this PV prefix wrote."""

    def __init__(self, disk: DiskSection, prefix: str) -> None:
        limits = Limits(disk.keep_size, disk.keep_hours, disk.keep_free)
        self._keeper = RetentionKeeper((), limits, server=prefix, roots=disk.allowed)

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers of the limits: their word is a field of LimitsShown."""
        return {"retention_limit": Handler(self._set_limit, self._limit)}

    def start(self, folders: Iterable[Path]) -> None:
        """Begin to keep the detector folders ``folders`` within the limits. Raises HostError for an impossible limit."""
        self._keeper.set_detectors(folders)
        problem = _beyond(self._keeper.limits.keep_free, self._keeper.detectors)
        if problem:
            raise HostError(f"disk.keep_free: {problem}")
        self._keeper.start()

    def follow(self, folders: Iterable[Path]) -> None:
        """Keep these folders from now on."""
        wanted = tuple(folders)
        if wanted != self._keeper.detectors:
            self._keeper.set_detectors(wanted)

    def close(self) -> None:
        """Stop the keeper and wait for the deletion in progress."""
        self._keeper.close()

    def status(self) -> RetentionStatus:
        """Return the limits and statistics for the records."""
        limits = self._keeper.limits
        shown = LimitsShown(
            size_gib=(limits.keep_bytes or 0) / _GIB,
            hours=float(limits.keep_hours or 0),
            free_gib=(limits.keep_free or 0) / _GIB,
        )
        return RetentionStatus(shown, self._keeper.stats)

    def _limit(self, name: str) -> float:
        return getattr(self.status().keep, name)

    async def _set_limit(self, value: Any, name: str) -> None:
        amount = float(value)
        if not math.isfinite(amount * _GIB) or amount < 0:
            raise CommandError(f"found {amount:g}, expected a positive number, or 0 for no limit")
        # A limit is never rounded down to 0, which would be to keep nothing.
        nbytes = math.ceil(amount * _GIB) or None
        limits = self._keeper.limits
        match name:
            case "size_gib":
                limits = replace(limits, keep_bytes=nbytes)
            case "hours":
                limits = replace(limits, keep_hours=amount or None)
            case "free_gib":
                problem = _beyond(nbytes, self._keeper.detectors)
                if problem:
                    raise CommandError(problem)
                limits = replace(limits, keep_free=nbytes)
            case _:
                raise CommandError(f"found the limit {name!r}, expected size_gib, hours or free_gib")
        self._keeper.set_limits(limits)


def _beyond(keep_free: int | None, folders: Iterable[Path]) -> str:
    """Return why a limit of free space can never be met; empty when it can.

    With an impossible limit all data would be deleted, a file at a time.
    """
    for folder in folders if keep_free else ():
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        total = shutil.disk_usage(existing).total
        if keep_free and keep_free >= total:
            return (
                f"found {keep_free / _GIB:.1f} GiB to keep free, but the file system of {existing} has "
                f"{total / _GIB:.1f} GiB in total; set less"
            )
    return ""
