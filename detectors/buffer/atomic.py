"""Small files that appear whole or not at all."""

import errno
import os
from pathlib import Path


def write_atomically(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Write ``data`` beside ``path`` and rename it there; a reader sees the old file or the new one.

    ``sync`` waits until it lies on the disk, too. Raises OSError.
    """
    # The process id keeps two writers apart: modules of one detector share a folder.
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        beside.replace(path)
        if sync:
            sync_path(path.parent)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def sync_path(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk; some file systems have nothing to wait for, and refuse."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(fd)
