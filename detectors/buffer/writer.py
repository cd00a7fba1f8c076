"""The disk writer: a sink that puts every frame at the place which its pulse_id gives it.

Source of the layout: sf-buffer.
"""

import errno
import os
import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from detectors.buffer.claim import claim
from detectors.buffer.datafile import DataFile
from detectors.buffer.folder_lease import FolderLease
from detectors.buffer.module_files import ModuleFiles, sync_newest
from detectors.buffer.registration import DetectorInfo, register_module
from detectors.errors import ConfigError, HostError
from detectors.frame import FILE_MOD
from detectors.pools.pebble import PebbleLease
from detectors.stats import SinkFigures

CHECK_PERIOD_S: Final = 1.0
"""How often free space, the lease, and whether the open files are still in place, are checked, s."""

SYNC_S: Final = 10.0
"""How long a record may be written before it is durable, s, unless the owner says otherwise."""


class BufferWriter:
    """Sink that writes the records of the one module of ``info`` to its folder in ``folder``, the detector's.

    For one thread. Raises HostError when the folder cannot be made or written, or is another writer's, ConfigError when it
    already holds frames of another shape or type.
    """

    name = "disk"
    busy_state = "Writing"
    wanted = True
    most = 8

    def __init__(
        self,
        folder: Path,
        info: DetectorInfo,
        *,
        direct: bool = True,
        sidecar: bool = True,
        crc: bool = True,
        min_free: int = 0,
        sync_s: float = SYNC_S,
        server: str = "",
    ) -> None:
        self.module = info.modules[0]
        self._info = info
        self._shape = info.record
        self._min_free = min_free
        self._sync_s = sync_s
        self._server = server
        self.figures = SinkFigures(syncs=True)
        self._new_files = partial(
            ModuleFiles, shape=self._shape, figures=self.figures, direct=direct, sidecar=sidecar, crc=crc
        )
        self._lease: FolderLease | None = None
        self.set_folder(folder)

    def set_folder(self, folder: Path) -> None:
        """Close the files and write to another detector folder from now on.

        Raises like the constructor; the present folder then stays in use.
        """
        module_folder = folder / self.module
        lease = self._lease
        try:
            module_folder.mkdir(parents=True, exist_ok=True)
            register_module(folder, self._info)
            _check_writable(module_folder)
            if not (lease and lease.is_of(module_folder)):
                lease = FolderLease(module_folder)
                claim(module_folder, self._server)
                sync_newest(module_folder)
            self._measure(module_folder)
        except OSError as error:
            if lease and lease is not self._lease:
                lease.release()
            raise HostError(
                f"{module_folder}: cannot be written: {error.strerror}; choose another folder or change its permissions"
            ) from None
        if self._lease:
            self._files.close()
            if self._lease is not lease:
                self._lease.release()
        self._lease = lease
        self._mount = _mount_point(folder)
        self.folder = folder
        """The detector's folder."""
        self.figures.folder = str(folder)
        self._checked_at = time.monotonic()
        self._files = self._new_files(module_folder, sync_s=self._sync_s)

    def write(self, leases: Sequence[PebbleLease]) -> int:
        """Write the first record, with those that follow it in the file, and hold their sidecar entries; return how many.

        Raises OSError: ENOSPC, before anything is written, when less than ``min_free`` would be left.
        """
        self._check(write=True)
        files = self._files
        lease = leases[0]
        if self._free < self._min_free + self._shape.record_bytes:
            raise OSError(errno.ENOSPC, f"{self._free} bytes free, {self._min_free} are to stay free", str(self.folder))
        file = files.file_of(lease.pulse_id)
        index = lease.pulse_id % FILE_MOD
        run = self._new_run(file.data, index, leases)
        if len(run) > 1 and file.data.write_run([one.span() for one in run]):
            written = run
        else:
            written = leases[:1]
            replaces = file.data.present(index)
            if file.sidecar and replaces:
                file.sidecar.forget(index)
            file.data.write(*lease.span())
            self.figures.overwritten += replaces
        nbytes = len(written) * self._shape.record_bytes
        self.figures.bytes += nbytes
        self._free -= nbytes
        files.written(file, written)
        return len(written)

    def idle(self) -> None:
        """Do what is due for the files, the lease and the free space."""
        self._check(write=False)
        self._files.upkeep()

    def reset(self) -> None:
        """Close the files: the next record opens its own again."""
        self._files.close()

    def close(self) -> None:
        """Make durable what is written, close the files and give the folder back. Idempotent."""
        self._files.close()
        if self._lease:
            self._lease.release()
        self._lease = None

    def _check(self, *, write: bool) -> None:
        """Look, once a second, at the lease, the free space, and whether the files are still in place.

        To ``write``, a folder that was removed is made again. Raises OSError, or HostError when another writer has the folder.
        """
        now = time.monotonic()
        # What was written since is taken off, so that a fast stream cannot overshoot within the second.
        if now - self._checked_at < CHECK_PERIOD_S and self._free >= self._min_free + self._shape.record_bytes:
            return
        self._checked_at = now
        folder = self._files.folder
        self._files.check()
        if self._lease and self._lease.is_of(folder):
            try:
                self._lease.renew()
            except HostError:
                self._files.abandon()
                self._lease.release()
                self._lease = None
                raise
        elif write:
            self._make_anew(folder)
        else:
            return  # until there is something to write
        self._measure(folder)

    def _make_anew(self, folder: Path) -> None:
        """Make the module's folder, which was removed, and take its lease; never the root, which a mount makes."""
        if self._lease:
            self._lease.release()
        self._lease = None
        if _mount_point(self.folder) != self._mount:
            raise OSError(errno.ENOENT, f"found no disk mounted on {self._mount}", str(self.folder))
        for each in (self.folder, folder):
            each.mkdir(exist_ok=True)
        try:
            register_module(self.folder, self._info)
        except ConfigError as error:
            raise OSError(errno.EINVAL, str(error)) from None
        self._lease = FolderLease(folder)
        claim(folder, self._server)

    def _measure(self, folder: Path) -> None:
        self._free = self.figures.free_bytes = shutil.disk_usage(folder).free

    def _new_run(self, data: DataFile, index: int, leases: Sequence[PebbleLease]) -> Sequence[PebbleLease]:
        """Return the first leases as far as their records follow each other in the file, are new there, and fit the disk."""
        first = leases[0].pulse_id
        room = (self._free - self._min_free) // self._shape.record_bytes
        n = 0
        for n, lease in enumerate(leases[: min(room, FILE_MOD - index)]):
            if lease.pulse_id != first + n or data.present(index + n):
                return leases[:n]
        return leases[: n + 1]


def _check_writable(folder: Path) -> None:
    """Raise OSError when no file can be made in ``folder``; permissions alone do not say it (root, read-only mounts)."""
    probe = folder / f".probe.{os.getpid()}"
    try:
        probe.touch()
    finally:
        probe.unlink(missing_ok=True)


def _mount_point(path: Path) -> Path:
    """Return where the file system is mounted that a path lies on, or would."""
    path = path.absolute()
    return next(each for each in (path, *path.parents) if each.is_mount())
