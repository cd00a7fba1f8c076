"""Roots: the folders that a client may choose a folder or a file below."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from detectors.errors import CommandError


def confined(path: str | Path, roots: Iterable[Path], name: str = "folder") -> Path:
    """Return ``path`` without symlinks; it is one of ``roots`` or lies below one, and need not exist yet.

    Raises CommandError, which begins with ``name``, when it does not, or when its root is not there: that is how the
    place of a disk looks that is not mounted, so a root must never be made at a client's request.
    """
    if not Path(path).is_absolute():
        raise CommandError(f"{name}: found {str(path)!r}, expected an absolute path")
    allowed = list(roots)
    try:
        found = _resolved(Path(path))
        below = [root for root in allowed if found.is_relative_to(root.resolve())]
        there = any(root.is_dir() for root in below)
    except (OSError, RuntimeError, ValueError) as error:  # a loop of symlinks, a null byte
        raise CommandError(f"{name}: {str(path)!r} is no path: {error}") from None
    if not below:
        leads = f", which leads to {found}" if found != Path(path) else ""
        raise CommandError(
            f"{name}: found {str(path)!r}{leads}, expected a place below the roots {', '.join(map(str, allowed))}"
        )
    if not there:
        raise CommandError(f"{name}: the root {below[0]} does not exist; mount its disk or create it on the host")
    return found


def _resolved(path: Path) -> Path:
    """Return ``path`` without symlinks. Raises OSError or RuntimeError for a loop of them, which Python 3.13 leaves in the path."""
    found = path.resolve()
    try:
        found.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
    return found
