"""The lock of a running worker: a worker runs once, and other processes see by it whether one runs, and its pid."""

import fcntl
import os
import struct
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from detectors.errors import HostError
from detectors.runtime_names import RuntimeNames

_FLOCK: Final = struct.Struct("hhqqi4x")
"""``struct flock``: type, whence, start, length, pid. Locks belong to the open file, so threads cannot confuse each other."""


def is_running(runtime: RuntimeNames, worker: str) -> int | None:
    """Return the pid of the worker that holds the lock, or None."""
    try:
        descriptor = os.open(runtime.lock(worker), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        # Asked, not tried: a lock held for a moment would make a worker that starts just then refuse.
        held = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _flock(fcntl.F_WRLCK))
        if _FLOCK.unpack(held)[0] == fcntl.F_UNLCK:
            return None
        return _read_lock(descriptor)[0]
    finally:
        os.close(descriptor)


def running_systems() -> list[RuntimeNames]:
    """Return the runtime of every system of this account that has a process at work, found by the locks."""
    found: set[RuntimeNames] = set()
    for path in RuntimeNames.all_folders().glob("*/*.lock"):
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            _, prefix = _read_lock(descriptor)
            os.close(descriptor)
            runtime = RuntimeNames(prefix)
            if prefix and runtime.folder == path.parent and is_running(runtime, path.stem) is not None:
                found.add(runtime)
    return sorted(found, key=lambda runtime: runtime.prefix)


def workers_seen(runtime: RuntimeNames) -> list[str]:
    """Return the workers of a system that run or have left a counters page, by name."""
    page = runtime.counters("*")
    names = {path.stem for path in runtime.folder.glob("*.lock")}
    start, end = page.name.split("*")
    names |= {path.name.removeprefix(start).removesuffix(end) for path in page.parent.glob(page.name)}
    return sorted(names)


def remove_leftovers(runtime: RuntimeNames, worker: str) -> list[Path]:
    """Remove what a killed worker left behind, and return it. Nothing is removed while the worker runs."""
    if is_running(runtime, worker) is not None:
        return []
    removed: list[Path] = []
    sockets = (runtime.status(worker), runtime.command(worker), runtime.notify(worker), runtime.frames(worker))
    for path in (*(Path(s.removeprefix("ipc://")) for s in sockets), runtime.shm(worker), runtime.lock(worker)):
        with suppress(FileNotFoundError):
            path.unlink()
            removed.append(path)
    return removed


@contextmanager
def hold_lock(runtime: RuntimeNames, worker: str) -> Generator[None]:
    """Hold the worker's lock, with our pid in the file, and remove the pebble of an earlier, killed one.

    Raises HostError when the worker is running already.
    """
    runtime.make_folder()
    path = runtime.lock(worker)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _flock(fcntl.F_WRLCK))
        except BlockingIOError:
            pid, _ = _read_lock(descriptor)
            os.close(descriptor)
            raise HostError(
                f"{worker}: already running as process {pid} for prefix {runtime.prefix}; stop that first"
            ) from None
        # The holder may have unlinked the file between our open and our lock: then no one can see our lock.
        with suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                break
        os.close(descriptor)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n{runtime.prefix}\n".encode(), 0)
        with suppress(FileNotFoundError):
            runtime.shm(worker).unlink()
        yield
    finally:
        with suppress(FileNotFoundError):
            path.unlink()
        os.close(descriptor)
        with suppress(OSError):  # not empty while other workers run
            runtime.folder.rmdir()


def _read_lock(descriptor: int) -> tuple[int, str]:
    """Return the pid and the PV prefix that the holder of a lock wrote; 0 and nothing while it has not."""
    pid, _, prefix = os.pread(descriptor, 200, 0).decode(errors="replace").partition("\n")
    return int(pid) if pid.isdigit() else 0, prefix.strip()


def _flock(kind: int) -> bytes:
    """Return a ``struct flock`` for the whole file. Source: fcntl(2)."""
    return _FLOCK.pack(kind, os.SEEK_SET, 0, 0, 0)
