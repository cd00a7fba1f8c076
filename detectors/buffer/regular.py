"""Opens what a buffer is made of: regular files. A FIFO of that name would wait for a writer, a device never end."""

import errno
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from detectors.errors import BufferReadError

_LARGEST_TEXT: Final = 1 << 20
"""Bytes: no text file of a buffer is longer."""


def open_regular(path: Path) -> int:
    """Open a regular file for reading and return its descriptor. Raises OSError, also for anything else of that name."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def read_regular(path: Path) -> bytes:
    """Return what a small text file holds. Raises OSError."""
    with open(open_regular(path), "rb") as file:
        text = file.read(_LARGEST_TEXT + 1)
    if len(text) > _LARGEST_TEXT:
        raise OSError(errno.EFBIG, f"it has more than {_LARGEST_TEXT} bytes", str(path))
    return text


def is_missing(path: Path) -> bool:
    """Return whether there is nothing of that name: not so for what cannot be read, nor for a link to nowhere."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Raise what the file system refuses as a BufferReadError that names the path."""
    try:
        yield
    except OSError as error:
        raise BufferReadError(f"{path}: cannot be read: {error.strerror or error}") from None
