"""The disk writer: a sink that puts every frame at the place which its pulse_id gives it.

Source of the layout: sf-buffer.
"""

import errno
import logging
import os
import shutil
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from detectors.buffer.atomic import write_atomically
from detectors.buffer.datafile import DataFile
from detectors.buffer.fields import Field
from detectors.buffer.layout import LATEST, data_file, relative_path, sidecar_path
from detectors.buffer.registration import register_module
from detectors.buffer.sidecar import SidecarFile
from detectors.errors import ConfigError, HostError
from detectors.frame import FILE_MOD, RecordShape
from detectors.pools.pebble import PebbleLease
from detectors.stats import SinkFigures

log = logging.getLogger(__name__)

OPEN_FILES: Final = 3
"""Files kept open, so that frames that come out of order around the edge of a file do not open and close it each time."""

CHECK_PERIOD_S: Final = 1.0
"""How often free space, and that the open files are still in place, is looked at, s."""


@dataclass(slots=True)
class _Open:
    """One pulse range on disk: the data file and, when they are wanted, its sidecar."""

    name: Path
    data: DataFile
    sidecar: SidecarFile | None

    def close(self) -> None:
        try:
            if self.sidecar:
                self.sidecar.close()
        finally:
            self.data.close()


class BufferWriter:
    """Sink that writes one module's records to ``folder/module``; ``folder`` is the detector's.

    For one thread. Raises HostError when the folder cannot be made or written, ConfigError when it already holds frames
    of another shape or type.
    """

    name = "disk"
    busy_state = "Writing"
    wanted = True
    most = 8

    def __init__(
        self,
        folder: Path,
        module: str,
        shape: RecordShape,
        *,
        dtype: str,
        frame_shape: tuple[int, ...],
        fields: Sequence[Field] = (),
        direct: bool = True,
        sidecar: bool = True,
        min_free: int = 0,
    ) -> None:
        self.module = module
        self._shape = shape
        self._dtype = dtype
        self._frame_shape = frame_shape
        self._fields = tuple(fields)
        self._want_direct = direct
        self._sidecar = sidecar
        self._min_free = min_free
        self.figures = SinkFigures()
        self._sidecar_fails = False
        self._files: OrderedDict[int, _Open] = OrderedDict()
        self._use(folder)

    @property
    def folder(self) -> Path:
        """The detector's folder."""
        return self._folder

    def set_folder(self, folder: Path) -> None:
        """Close the files and write to another detector folder from now on.

        Raises like the constructor; the present folder then stays in use.
        """
        self._use(folder)

    def write(self, leases: Sequence[PebbleLease]) -> int:
        """Write the first record, with those that follow it in the file, and hold their sidecar entries; return how many.

        Raises OSError: ENOSPC, before anything is written, when less than ``min_free`` would be left.
        """
        self._check()
        lease = leases[0]
        if self._free < self._min_free + self._shape.record_bytes:
            raise OSError(
                errno.ENOSPC, f"{self._free} bytes free, {self._min_free} are to stay free", str(self._folder)
            )
        file = self._file_of(lease.pulse_id)
        index = lease.pulse_id % FILE_MOD
        run = self._new_run(file.data, index, leases)
        if len(run) > 1 and file.data.write_run([one.span() for one in run]):
            self._written(file, run)
            return len(run)
        replaces = file.data.present(index)
        if file.sidecar and replaces:
            file.sidecar.forget(index)
        file.data.write(*lease.span())
        self._direct = self._direct and file.data.direct
        self.figures.overwritten += replaces
        self._written(file, leases[:1])
        return 1

    def idle(self) -> None:
        """Write the sidecar entries held back, and look at the free space."""
        self._flush()
        if time.monotonic() - self._measured_at >= CHECK_PERIOD_S:
            with suppress(OSError):  # a folder that is gone shows at the next write
                self._measure(self._folder)

    def reset(self) -> None:
        """Close the files: the next record opens its own again."""
        self.close()

    def close(self) -> None:
        """Write what is held back, close the files and name the last one in LATEST. Idempotent."""
        while self._files:
            _, file = self._files.popitem(last=False)
            try:
                file.close()
            except OSError as error:
                log.error("%s: cannot write its last entries: %s", sidecar_path(file.data.path), error.strerror)  # noqa: TRY400
        if self._newest:
            try:
                self._name_latest(self._newest)
            except OSError as error:
                log.error("%s: cannot be written: %s", self._module_folder / LATEST, error.strerror)  # noqa: TRY400
        self._newest = None

    def _use(self, folder: Path) -> None:
        module_folder = folder / self.module
        try:
            self._make(folder)
            _check_writable(module_folder)
            self._measure(module_folder)
        except OSError as error:
            raise HostError(
                f"{module_folder}: cannot be written: {error.strerror}; choose another folder or change its permissions"
            ) from None
        if self._files:
            self.close()
        self._folder, self._module_folder = folder, module_folder
        self.figures.folder = str(folder)
        self._checked_at = time.monotonic()
        self._direct = self._want_direct
        self._newest: Path | None = None

    def _make(self, folder: Path) -> None:
        (folder / self.module).mkdir(parents=True, exist_ok=True)
        register_module(
            folder,
            self.module,
            data_bytes=self._shape.data_bytes,
            dtype=self._dtype,
            shape=self._frame_shape,
            fields=self._fields,
        )

    def _check(self) -> None:
        """Look, at most once a second, at the free space and whether someone removed the files we write."""
        now = time.monotonic()
        # What was written since is taken off, so that a fast stream cannot overshoot within the second.
        if now - self._checked_at < CHECK_PERIOD_S and self._free >= self._min_free + self._shape.record_bytes:
            return
        self._checked_at = now
        if not self._module_folder.exists():
            try:
                self._make(self._folder)
            except ConfigError as error:
                raise OSError(errno.EINVAL, str(error)) from None
        self._measure(self._module_folder)
        for number, file in list(self._files.items()):
            if not file.data.is_in_place():
                log.error("%s: removed or replaced while it was written; it is made anew", file.data.path)
                del self._files[number]
                file.close()

    def _measure(self, folder: Path) -> None:
        self._measured_at = time.monotonic()
        self._free = self.figures.free_bytes = shutil.disk_usage(folder).free

    def _flush(self) -> None:
        for file in self._files.values():
            if file.sidecar:
                file.sidecar.flush()

    def _file_of(self, pulse_id: int) -> _Open:
        number = data_file(pulse_id)
        file = self._files.get(number)
        if file:
            self._files.move_to_end(number)
            return file
        file = self._open(relative_path(pulse_id))
        finished, self._newest = self._newest, file.name
        self._files[number] = file
        if finished:
            # Its descriptors stay open for stragglers; what a reader of LATEST needs is complete.
            self._flush()
            self._name_latest(finished)
        if len(self._files) > OPEN_FILES:
            _, oldest = self._files.popitem(last=False)
            oldest.close()
        return file

    def _open(self, name: Path) -> _Open:
        path = self._module_folder / name
        data = DataFile(path, self._shape, direct=self._direct)
        try:
            return _Open(name, data, SidecarFile(sidecar_path(path)) if self._sidecar else None)
        except OSError:
            data.close()
            raise

    def _note(self, sidecar: SidecarFile, lease: PebbleLease) -> None:
        """Hold the sidecar entry of a record just written: the record counts as written whatever becomes of it."""
        try:
            sidecar.put(lease.head, lease.data)
            self._sidecar_fails = False
        except OSError as error:
            # The entries stay in memory, the next flush tries again; one line per failure, not per frame.
            if not self._sidecar_fails:
                log.error("%s: cannot be written: %s", sidecar.path, error.strerror)  # noqa: TRY400
            self._sidecar_fails = True

    def _new_run(self, data: DataFile, index: int, leases: Sequence[PebbleLease]) -> Sequence[PebbleLease]:
        """Return the first leases as far as their records follow each other in the file, are new there, and fit the disk."""
        first = leases[0].pulse_id
        room = (self._free - self._min_free) // self._shape.record_bytes
        n = 0
        for n, lease in enumerate(leases[: min(room, FILE_MOD - index)]):
            if lease.pulse_id != first + n or data.present(index + n):
                return leases[:n]
        return leases[: n + 1]

    def _written(self, file: _Open, leases: Sequence[PebbleLease]) -> None:
        """Count records, and hold their sidecar entries."""
        nbytes = len(leases) * self._shape.record_bytes
        self.figures.bytes += nbytes
        self._free -= nbytes
        if file.sidecar:
            for lease in leases:
                self._note(file.sidecar, lease)

    def _name_latest(self, name: Path) -> None:
        write_atomically(self._module_folder / LATEST, f"{name}\n".encode())


def _check_writable(folder: Path) -> None:
    """Raise OSError when no file can be made in ``folder``; permissions alone do not say it (root, read-only mounts)."""
    probe = folder / f".probe.{os.getpid()}"
    try:
        probe.touch()
    finally:
        probe.unlink(missing_ok=True)
