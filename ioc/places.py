"""Where clients may put data: paths are checked beside the event loop, since a file system can hang."""

import asyncio
from collections.abc import Iterable
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
