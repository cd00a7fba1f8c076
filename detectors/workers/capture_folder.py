"""The folder that captures make their files in. It is looked at, moved and used on a thread of its own."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from detectors.config import Hdf5Section
from detectors.outputs.hdf5.folder import free_bytes, make_folder, writable_folder
from detectors.workers.file_thread import FileThread

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FolderState:
    """A folder when it was last looked at."""

    folder: Path
    exists: bool = False
    free_bytes: int = 0


class CaptureFolder:
    """The present place of the files. For one thread, which never waits for the disk; made once, which does."""

    def __init__(self, section: Hdf5Section) -> None:
        """Make the configuration's folder. Raises HostError when it cannot be."""
        make_folder(section.folder)
        self._roots = section.allowed
        self._look_at(section.folder)
        self._files = FileThread()
        self._looked = self._files.do(lambda: self._look_at(section.folder))

    @property
    def place(self) -> FolderState:
        """The folder as it was last looked at; it is looked at again soon."""
        if self._looked.done():
            self._looked = self._files.do(lambda: self._look_at(self._place.folder))
        return self._place

    def move(self, folder: str, create: int = 0) -> "Future[str]":
        """Make the files to come in another folder; ``create``, result and errors as in ``writable_folder``."""

        def move_there() -> str:
            found = writable_folder(folder, self._roots, create)
            self._look_at(found)
            return str(found)

        return self._files.do(move_there)

    def do(self, action: Callable[[], T]) -> "Future[T]":
        """Do something that touches the disk, after what is under way."""
        return self._files.do(action)

    def close(self) -> None:
        """End the thread when it has done all."""
        self._files.close()

    def _look_at(self, folder: Path) -> None:
        self._place = FolderState(folder, folder.is_dir(), free_bytes(folder))
