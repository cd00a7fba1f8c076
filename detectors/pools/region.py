"""A region of memory: page-aligned, and resident as a whole before the first frame arrives.

A page fault in the data path costs more than the copy that causes it, so every page is faulted when the region is made.
"""

import contextlib
import errno
import mmap
import os
from pathlib import Path
from typing import Final, Self

import numpy as np

from detectors.errors import HostError, UseAfterReleaseError
from detectors.pools.available import mem_available

PAGE: Final = mmap.PAGESIZE

_CHUNK: Final = 64 << 20
"""Pages are asked for in steps of this many bytes: signals and other threads get their turn in between."""

_MADV_POPULATE_WRITE: Final = 23
"""Linux 5.14 and later; Python's mmap has no name for it."""


def round_to_page(nbytes: int) -> int:
    """Return ``nbytes`` rounded up to whole pages."""
    return -(-nbytes // PAGE) * PAGE


class Region:
    """Memory of ``nbytes``, rounded up to whole pages. Use one of the class methods.

    ``close`` unmaps it; while views of it are still in use, the memory stays until the last of them is gone.
    """

    def __init__(self, memory: mmap.mmap, path: Path | None = None, file: os.stat_result | None = None) -> None:
        self._map: mmap.mmap | None = memory
        self._array = np.frombuffer(memory, np.uint8)
        self._view = memoryview(memory)
        self.path = path
        # What ``replaced`` needs, once a frame: pathlib and samestat take three times as long.
        self._name = str(path)
        self._file = (file.st_dev, file.st_ino) if file else None
        self.nbytes = len(memory)
        self.address = int(self._array.ctypes.data)

    @classmethod
    def anonymous(cls, nbytes: int) -> Self:
        """Return memory of this process alone. Raises HostError when the host has too little."""
        _check_room("memory", nbytes, mem_available())
        try:
            memory = mmap.mmap(-1, round_to_page(max(nbytes, 1)), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            # Before the first touch, or it has no effect; a kernel without huge pages says EINVAL.
            with contextlib.suppress(OSError):
                memory.madvise(mmap.MADV_HUGEPAGE)
            _populate(memory)
        except (OSError, OverflowError) as error:
            raise _too_little("memory", nbytes, error) from None
        return cls(memory)

    @classmethod
    def shared(cls, path: Path, nbytes: int) -> Self:
        """Return memory that other processes of this user can map; a stale segment of that name is replaced.

        Raises HostError when the file system (``/dev/shm``) has too little room or refuses.
        """
        size = round_to_page(max(nbytes, 1))
        try:
            path.unlink(missing_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise HostError(f"{path}: cannot create shared memory: {error.strerror}; check its folder") from None
        try:
            room = os.fstatvfs(fd)
            _check_room(str(path.parent), size, room.f_bavail * room.f_frsize)
            _check_room("memory", size, mem_available())
            for offset in range(0, size, _CHUNK):  # ENOSPC shows here, not as SIGBUS later
                os.posix_fallocate(fd, offset, min(_CHUNK, size - offset))
            memory = mmap.mmap(fd, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE)
            _populate(memory)
            return cls(memory, path, os.fstat(fd))
        except BaseException as error:
            path.unlink(missing_ok=True)
            if isinstance(error, OSError | OverflowError):
                raise _too_little(str(path.parent), size, error) from None
            raise
        finally:
            os.close(fd)

    @classmethod
    def attach(cls, path: Path) -> Self:
        """Return a read-only map of another process's shared memory.

        Raises HostError when there is none yet, or when it belongs to another user.
        """
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_uid != os.geteuid():
                    raise HostError(
                        f"{path}: found shared memory of user {status.st_uid}, expected user {os.geteuid()}; remove it"
                    )
                return cls(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), path, status)
        except (OSError, ValueError) as error:  # ValueError: the file is still empty
            reason = error.strerror if isinstance(error, OSError) else "it is still being made"
            raise HostError(f"{path}: no shared memory to map: {reason}; is its worker running?") from None

    @property
    def array(self) -> np.ndarray:
        """All bytes, uint8."""
        self._check()
        return self._array

    @property
    def view(self) -> memoryview:
        """All bytes; writable unless attached."""
        self._check()
        return self._view

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._map is None

    def replaced(self) -> bool:
        """Whether the path no longer leads to this memory: its owner has ended, or has made another."""
        if self._file is None:
            return False
        try:
            found = os.stat(self._name)  # noqa: PTH116
        except OSError:
            return True
        return (found.st_dev, found.st_ino) != self._file

    def unlink(self) -> None:
        """Remove the name of shared memory, unless another process has meanwhile taken it over."""
        if self.path and not self.replaced():
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmap the memory, at once or with the last view of it. Idempotent."""
        if self._map is None:
            return
        memory, self._map = self._map, None
        self._view = memoryview(b"")
        self._array = np.empty(0, np.uint8)
        with contextlib.suppress(BufferError):
            memory.close()

    def _check(self) -> None:
        if self._map is None:
            raise UseAfterReleaseError("the region is closed; its memory may be used only before")


def _check_room(what: str, nbytes: int, room: int) -> None:
    """Raise HostError before pages are taken: past this point the kernel kills processes instead of refusing."""
    if nbytes > room:
        raise _too_little(what, nbytes, f"{room:,} are free")


def _populate(memory: mmap.mmap) -> None:
    """Fault every page of a writable map. Raises OSError."""
    size = len(memory)
    try:
        for offset in range(0, size, _CHUNK):
            memory.madvise(_MADV_POPULATE_WRITE, offset, min(_CHUNK, size - offset))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        np.frombuffer(memory, np.uint8)[::PAGE] = 0  # an older kernel: touch them


def _too_little(what: str, nbytes: int, reason: Exception | str) -> HostError:
    if isinstance(reason, Exception):
        reason = getattr(reason, "strerror", None) or "more than this machine can address"
    return HostError(f"{what}: cannot allocate {nbytes:,} bytes: {reason}; lower the buffer counts or free some memory")
