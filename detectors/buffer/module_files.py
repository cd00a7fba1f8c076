"""The files of one module that are open for writing, and when what they hold is durable.

A record is durable when its file was synced after it, its sidecar entry too, and the file is still in its place. Files are
synced when the next one is begun, when nothing came for a second, every ``sync_s``, and at the end; LATEST names a file
that is. What a failed sync leaves open is counted as lost, though some of it may be there.
"""

import errno
import itertools
import logging
import time
from collections import OrderedDict
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from detectors.buffer.atomic import sync_path, write_atomically
from detectors.buffer.datafile import DataFile
from detectors.buffer.layout import LATEST, data_file, relative_path, sidecar_path
from detectors.buffer.listing import newest_first
from detectors.buffer.sidecar import SidecarFile
from detectors.errors import BufferReadError
from detectors.frame import RecordShape
from detectors.pools.pebble import PebbleLease
from detectors.stats import SinkFigures

log = logging.getLogger(__name__)

_MOST_OPEN: Final = 3
"""Files kept open, so that frames that come out of order around the edge of a file do not open and close it each time."""

_QUIET_S: Final = 1.0
"""Files are synced when nothing was written for this long, s."""


class OpenFile:
    """One pulse range on disk: the data file and, when they are wanted, its sidecar. Raises OSError."""

    def __init__(self, path: Path, shape: RecordShape, *, direct: bool, sidecar: bool) -> None:
        self.data = DataFile(path, shape, direct=direct)
        self.unsynced = 0
        """Records written since the last sync."""
        self._named = False
        """Whether the names of file and folders are durable."""
        try:
            self.sidecar = SidecarFile(sidecar_path(path)) if sidecar else None
        except OSError:
            self.data.close()
            raise

    def sync_data(self) -> None:
        """Wait until the records are on the disk, under the name of the file."""
        self.data.sync()
        if not self._named:
            folder = self.data.path.parent
            for path in (folder, folder.parent):
                sync_path(path)
            self._named = True
        if not self.data.is_in_place():
            raise FileNotFoundError(errno.ENOENT, "removed or replaced while it was written", str(self.data.path))

    def close(self) -> None:
        """Close without another write. Raises OSError."""
        try:
            if self.sidecar:
                self.sidecar.close()
        finally:
            self.data.close()


class ModuleFiles:
    """The open files of a module's folder; counts into ``figures`` what is durable and what is lost. For one thread."""

    def __init__(
        self,
        folder: Path,
        shape: RecordShape,
        figures: SinkFigures,
        *,
        direct: bool,
        sidecar: bool,
        crc: bool,
        sync_s: float,
    ) -> None:
        self.folder = folder
        self._shape = shape
        self._figures = figures
        self._direct = direct
        self._sidecar = sidecar
        self._crc = crc
        self._sync_s = sync_s
        self._files: OrderedDict[int, OpenFile] = OrderedDict()
        self._newest: OpenFile | None = None
        self._error: OSError | None = None
        """The first error since the last ``upkeep`` that belongs to records written before."""
        self._sidecar_fails = False
        self._written_at = self._synced_at = time.monotonic()

    def file_of(self, pulse_id: int) -> OpenFile:
        """Return the open file of a pulse; the one before it is synced and named in LATEST. Raises OSError."""
        number = data_file(pulse_id)
        file = self._files.get(number)
        if file:
            self._files.move_to_end(number)
            return file
        path = self.folder / relative_path(pulse_id)
        file = self._files[number] = OpenFile(path, self._shape, direct=self._direct, sidecar=self._sidecar)
        finished, self._newest = self._newest, file
        if finished:
            # Its descriptors stay open for stragglers; what a reader of LATEST needs is complete.
            self._finish(finished)
        if len(self._files) > _MOST_OPEN:
            self._close(next(iter(self._files)))
        return file

    def written(self, file: OpenFile, leases: Sequence[PebbleLease]) -> None:
        """Count records just written, and hold their sidecar entries."""
        file.unsynced += len(leases)
        self._written_at = time.monotonic()
        self._direct = self._direct and file.data.direct
        if not file.sidecar:
            return
        for lease in leases:
            # Entries that cannot be written stay in memory, the next flush tries again: the record is there.
            with self._sidecar_errors(file.sidecar.path):
                file.sidecar.put(lease.head, lease.data if self._crc else None)

    def check(self) -> None:
        """Close the files that were removed or replaced: they would swallow every write. ``file_of`` makes them again."""
        for number, file in list(self._files.items()):
            if not file.data.is_in_place():
                self._close(number)

    def upkeep(self) -> None:
        """Write the sidecar entries held back, and sync what is due.

        Raises OSError for records written before, which are counted by then.
        """
        now = time.monotonic()
        for file in self._files.values():
            if file.sidecar:
                with self._sidecar_errors(file.sidecar.path):
                    file.sidecar.flush()
        if now - self._synced_at >= self._sync_s or now - self._written_at >= _QUIET_S:
            for file in self._files.values():
                if file.unsynced:
                    self._sync(file)
            self._synced_at = time.monotonic()
        error, self._error = self._error, None
        if error:
            raise error

    def close(self) -> None:
        """Sync and close the files, and name the last one in LATEST. Idempotent."""
        newest, self._newest = self._newest, None
        if newest:
            self._finish(newest)
        for number in list(self._files):
            self._close(number)

    def abandon(self) -> None:
        """Close the files without another write: they are another writer's now."""
        self._newest = None
        for file in self._files.values():
            self._lost(file, OSError(errno.EPERM, "taken over by another writer", str(file.data.path)))
            if file.sidecar:
                file.sidecar.discard()
            with suppress(OSError):
                file.close()
        self._files.clear()

    def _finish(self, file: OpenFile) -> None:
        if self._sync(file):
            path = self.folder / LATEST
            try:
                write_atomically(path, f"{file.data.path.relative_to(self.folder)}\n".encode(), sync=True)
            except OSError as error:
                self._fails(path, error)

    def _close(self, number: int) -> None:
        file = self._files.pop(number)
        if file is self._newest:
            self._newest = None
        self._sync(file)
        try:
            file.close()
        except OSError as error:
            self._fails(file.data.path, error)

    def _sync(self, file: OpenFile) -> bool:
        """Sync a file and count its records; False when they are lost."""
        try:
            file.sync_data()
        except OSError as error:
            self._lost(file, error)
            return False
        if file.sidecar:
            with self._sidecar_errors(file.sidecar.path):
                file.sidecar.sync()
        self._figures.durable += file.unsynced
        file.unsynced = 0
        return True

    @contextmanager
    def _sidecar_errors(self, path: Path) -> Generator[None]:
        """Keep errors of a sidecar for ``upkeep``; one line is logged per failure, not per frame."""
        try:
            yield
            self._sidecar_fails = False
        except OSError as error:
            if not self._sidecar_fails:
                log.error("%s: cannot be written: %s", path, error.strerror)  # noqa: TRY400
            self._sidecar_fails = True
            self._error = self._error or OSError(error.errno, error.strerror, str(path))

    def _lost(self, file: OpenFile, error: OSError) -> None:
        lost, file.unsynced = file.unsynced, 0
        self._figures.lost_on_disk += lost
        counted = f"; {lost} records written since the last sync are counted as lost" if lost else ""
        self._fails(file.data.path, OSError(error.errno, f"{error.strerror or error}{counted}"))

    def _fails(self, path: Path, error: OSError) -> None:
        what = error.strerror or str(error)
        log.error("%s: %s", path, what)
        self._error = self._error or OSError(error.errno, what, str(path))


def sync_newest(module_folder: Path) -> None:
    """Make durable what a killed writer left: the kernel has it, but may not have written it yet.

    Raises OSError.
    """
    with suppress(BufferReadError):
        for first in itertools.islice(newest_first(module_folder), _MOST_OPEN):
            path = module_folder / relative_path(first)
            for each in (path, sidecar_path(path)):
                with suppress(FileNotFoundError):
                    sync_path(each)
