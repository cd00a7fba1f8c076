"""The limits of the retention as people set them, in GiB and hours, and the check of a disk that can never meet one."""

import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from detectors.buffer.retention_plan import Limits
from detectors.config import DiskSection
from detectors.errors import CommandError
from detectors.stats import LimitsShown

_GIB: Final = 1 << 30


def configured_limits(disk: DiskSection) -> Limits:
    """Return the limits of a configuration."""
    return Limits(disk.keep_size, disk.keep_hours, disk.keep_free)


def shown_limits(limits: Limits) -> LimitsShown:
    """Return limits as they are shown; exact, so that ``limits_from`` gives the same limits."""
    return LimitsShown(
        size_gib=(limits.keep_bytes or 0) / _GIB,
        hours=float(limits.keep_hours or 0),
        free_gib=(limits.keep_free or 0) / _GIB,
    )


def limits_from(shown: LimitsShown) -> Limits:
    """Return the limits that are set so. Raises CommandError for a number that makes no sense."""
    for amount in (shown.size_gib, shown.hours, shown.free_gib):
        if not math.isfinite(amount * _GIB) or amount < 0:
            raise CommandError(f"found {amount:g}, expected a positive number, or 0 for no limit")
    # A limit is never rounded down to 0, which would be to keep nothing.
    return Limits(
        math.ceil(shown.size_gib * _GIB) or None, shown.hours or None, math.ceil(shown.free_gib * _GIB) or None
    )


def beyond(keep_free: int | None, folders: Iterable[Path]) -> str:
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
