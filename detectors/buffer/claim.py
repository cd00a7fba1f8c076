"""Which data files of a module's folder a server may delete: those that it wrote there itself.

The writer claims the folder for its server, by the PV prefix. A claim on a folder that held files before covers only what is
written after it. It names the folder's inode: a copy of the folder, an archive say, is not claimed.
"""

import json
from pathlib import Path
from typing import Any, Final

from detectors.buffer.atomic import write_atomically
from detectors.buffer.listing import data_files
from detectors.buffer.regular import read_regular

CLAIM: Final = ".claim.json"
"""File in a module's folder."""


def claim(module_folder: Path, server: str) -> None:
    """Claim a module's folder for ``server``, unless it has no name or a claim already. For the holder of its lease.

    Raises OSError, or BufferReadError when the folder cannot be read.
    """
    if server and claimed_since_ns(module_folder, server) is None:
        empty = next(data_files(module_folder), None) is None
        tree = {"server": server, "inode": module_folder.stat().st_ino, "all_files": empty}
        write_atomically(module_folder / CLAIM, json.dumps(tree).encode() + b"\n", sync=True)


def claimed_since_ns(module_folder: Path, server: str) -> int | None:
    """Return the time, POSIX ns, from which on files written there are the server's; 0: all. None: it has no claim."""
    path = module_folder / CLAIM
    try:
        tree: Any = json.loads(read_regular(path))
        if (tree["server"], tree["inode"]) != (server, module_folder.stat().st_ino):
            return None
        # By the clock of the file system, as the times of the data files.
        return 0 if tree["all_files"] is True else path.stat().st_mtime_ns
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
