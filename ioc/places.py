"""Where clients may put data: paths are checked beside the event loop, since a file system can hang.

Paths on other hosts are checked there, by the workers that use them; here only what their text tells.
"""

import asyncio
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from detectors.errors import CommandError
from detectors.roots import confined
from detectors.workers.file_thread import FileThread

_TIMEOUT_S: Final = 5.0


async def allowed_place(path: str, roots: Iterable[Path], name: str) -> str:
    """Return ``path`` without symlinks. Raises CommandError unless it lies below one of ``roots`` (``confined``)."""
    thread = FileThread()
    checked = thread.do(lambda: confined(path, roots, name))
    thread.close()
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return str(await asyncio.wrap_future(checked))
    except TimeoutError:
        raise CommandError(f"{name}: {path}: its file system did not answer within {_TIMEOUT_S:g} s") from None


def absolute(path: str, name: str) -> str:
    """Return ``path`` without ``.``, ``..`` and doubled slashes. Raises CommandError unless it is absolute."""
    if not Path(path).is_absolute():
        raise CommandError(f"{name}: found {path!r}, expected an absolute path")
    return os.path.normpath(path)


def below_roots_elsewhere(path: str, roots: Mapping[str, Iterable[Path]], name: str) -> None:
    """Refuse a path that is not below a root on every other host, by its text. ``roots`` are those of each host by its name.

    Raises CommandError, which names the roots of all.
    """
    plain = Path(absolute(path, name))
    if not all(any(plain.is_relative_to(root) for root in allowed) for allowed in roots.values()):
        listed = "; ".join(f"{host}: {', '.join(map(str, allowed))}" for host, allowed in roots.items())
        raise CommandError(
            f"{name}: found {path!r}, expected a place below the roots of every host ({listed}); move each source by itself"
        )
