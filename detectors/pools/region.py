"""A region of memory: page-aligned, and in memory as a whole before the first frame comes.

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

    def __init__(self, memory: mmap.mmap, path: Path | None = None) -> None:
        self._map: mmap.mmap | None = memory
        self._array = np.frombuffer(memory, np.uint8)
        self._view = memoryview(memory)
        self._file: tuple[int, int] | None = None
        self.path = path
        self.nbytes = len(memory)
        self.address = int(self._array.ctypes.data)

    @classmethod
    def anonymous(cls, nbytes: int, *, hugepages: bool = True) -> Self:
        """Return memory of this process alone. Raises HostError when the host has too little."""
        _check_room("memory", nbytes, mem_available())
        try:
            memory = mmap.mmap(-1, round_to_page(max(nbytes, 1)), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except (OSError, OverflowError) as error:
            raise HostError(_too_little("memory", nbytes, error)) from None
        if hugepages:
            # Before the first touch, or it comes too late; a kernel without huge pages says EINVAL.
            with contextlib.suppress(OSError):
                memory.madvise(mmap.MADV_HUGEPAGE)
        _populate(memory, "memory")
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
            _allocate(fd, size)
            memory = mmap.mmap(fd, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE)
            _populate(memory, str(path.parent))
            region = cls(memory, path)
            status = os.fstat(fd)
            region._file = status.st_dev, status.st_ino
        except (OSError, OverflowError) as error:
            path.unlink(missing_ok=True)
            raise HostError(_too_little(str(path.parent), size, error)) from None
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)
        return region

    @classmethod
    def attach(cls, path: Path) -> Self:
        """Return a read-only map of another process's shared memory. Raises HostError when there is none yet."""
        try:
            with path.open("rb") as file:
                memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                status = os.fstat(file.fileno())
        except (OSError, ValueError) as error:  # ValueError: the file is still empty
            reason = error.strerror if isinstance(error, OSError) else "it is still being made"
            raise HostError(f"{path}: no shared memory to map: {reason}; is its worker running?") from None
        region = cls(memory, path)
        region._file = status.st_dev, status.st_ino
        return region

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
        try:
            status = self.path.stat() if self.path else None
        except OSError:
            return True
        return status is not None and (status.st_dev, status.st_ino) != self._file

    def unlink(self) -> None:
        """Remove the name of shared memory, unless another process has meanwhile taken it over."""
        if self.path and not self.replaced():
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the memory; it is unmapped at once, or with the last view of it. Idempotent."""
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
    """Raise HostError before pages are taken: past this point the kernel ends processes instead of saying no."""
    if nbytes > room:
        raise HostError(
            f"{what}: cannot allocate {nbytes:,} bytes: {room:,} are free; lower the buffer counts or free some memory"
        )


def _allocate(fd: int, size: int) -> None:
    """Reserve every page of a file in a memory file system; ENOSPC shows here, not as SIGBUS later."""
    for offset in range(0, size, _CHUNK):
        os.posix_fallocate(fd, offset, min(_CHUNK, size - offset))


def _populate(memory: mmap.mmap, what: str) -> None:
    """Fault every page of a writable map."""
    size = len(memory)
    try:
        for offset in range(0, size, _CHUNK):
            memory.madvise(_MADV_POPULATE_WRITE, offset, min(_CHUNK, size - offset))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise HostError(_too_little(what, size, error)) from None
        np.frombuffer(memory, np.uint8)[::PAGE] = 0  # an older kernel: touch them


def _too_little(what: str, nbytes: int, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else "more than this machine can address"
    return f"{what}: cannot allocate {nbytes:,} bytes: {reason}; lower the buffer counts or free some memory"
