"""The folder that captures are made in: made once, moved only to where files can be written."""

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from detectors.errors import CommandError, HostError
from detectors.roots import confined


def make_folder(folder: Path) -> None:
    """Make the configuration's folder, if need be. Raises HostError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(
            f"hdf5.folder: {folder} cannot be made: {error.strerror}; choose another or change its permissions"
        ) from None


def writable_folder(text: str, roots: Iterable[Path]) -> Path:
    """Return the folder that a user asks for, without symlinks.

    Raises CommandError when it is not below one of ``roots``, or files cannot be made there.
    """
    folder = confined(text, roots)
    if not folder.is_dir():
        raise CommandError(f"folder: {folder} is not a folder; make it first")
    try:  # permissions alone do not tell: root, read-only mounts
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise CommandError(
            f"folder: {folder} cannot be written: {error.strerror}; choose another or change its permissions"
        ) from None


def free_bytes(folder: Path) -> int:
    """Return the space that is left in the folder, bytes; 0 where there is none."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0
