"""Small files that appear whole or not at all."""

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
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
