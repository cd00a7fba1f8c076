"""The processes of a run, wherever they went: all of them, and no others, have its runtime folder in their environment."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

_END_S: Final = 5.0
_POLL_S: Final = 0.05


def with_runtime_dir(folder: Path) -> dict[int, str]:
    """Return pid and command line of every process, but this one, with XDG_RUNTIME_DIR set to this folder."""
    wanted = f"XDG_RUNTIME_DIR={folder}".encode()
    found: dict[int, str] = {}
    for path in Path("/proc").glob("[0-9]*"):
        if int(path.name) == os.getpid():
            continue
        with suppress(OSError):  # it has ended, or is not ours
            if wanted in (path / "environ").read_bytes().split(b"\0"):
                words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                found[int(path.name)] = words
    return found


def end_all(folder: Path, wait_s: float = _END_S) -> None:
    """End them all; those that did not end within ``wait_s`` by force."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in with_runtime_dir(folder):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline_s = time.monotonic() + wait_s
        while with_runtime_dir(folder) and time.monotonic() < deadline_s:
            time.sleep(_POLL_S)
