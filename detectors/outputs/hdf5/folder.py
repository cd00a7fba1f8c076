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


def writable_folder(text: str, roots: Iterable[Path], create: int = 0) -> Path:
    """Return the folder that a user asks for, without symlinks.

    ``create`` as areaDetector's CreateDirectory: -n makes up to n folders that are missing, n those below the first n parts of
    the path, 0 none. Raises CommandError when it is not below one of ``roots``, or files cannot be made there.
    """
    folder = confined(text, roots)
    if create:
        _make_missing(folder, create)
    if not folder.is_dir():
        raise CommandError(f"folder: {folder} is not a folder; make it first, or set CreateDirectory")
    try:  # permissions alone do not tell: root, read-only mounts
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise CommandError(
            f"folder: {folder} cannot be written: {error.strerror}; choose another or change its permissions"
        ) from None


def _make_missing(folder: Path, create: int) -> None:
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    allowed = -create if create < 0 else len(folder.parts) - 1 - create
    if len(missing) > max(allowed, 0):
        raise CommandError(
            f"folder: {len(missing)} folders of {folder} are missing, CreateDirectory = {create} allows {max(allowed, 0)} of them"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"folder: {folder} cannot be made: {error.strerror}; choose another") from None


def free_bytes(folder: Path) -> int:
    """Return the space that is left in the folder, bytes; 0 where there is none."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0
