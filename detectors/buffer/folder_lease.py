"""One writer per module folder: a lease file that names the process that writes there, and a lock on it.

The lock (flock) decides where the file system has locks that reach as far as the folder does. It does not on every NFS or
GPFS; there the text decides: host, process id with its start time, and the time of the file's last write, which the
owner renews. Both are checked everywhere.
"""

import fcntl
import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from pydantic import TypeAdapter, ValidationError

from detectors.errors import HostError

LEASE: Final = ".writer.lease"
"""The lease file, in a module's folder; it remains, empty, when the writer has ended."""

RENEW_S: Final = 5.0
"""How often an owner renews its lease, s."""

STALE_S: Final = 60.0
"""A lease of another host that was not renewed for this long is free, s, by the clock of the file system."""

_SETTLE_S: Final = 1.0
"""Where there are no locks: wait before it is read again which of several that took it at once has the lease, s."""

_TEXT_BYTES: Final = 512
"""Size of the text: one write, within one sector."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that writes to a folder."""

    host: str
    pid: int
    start: int
    """Start time of the process in clock ticks since the boot: process ids are used again."""
    system: str
    """Boot and process-id namespace: where ``pid`` means something."""
    token: str
    """Of this lease: the same process may have had it before."""
    inode: int
    """Of the lease file: a copy of it, in a copy of the folder, does not count."""
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on host {self.host} since {self.since}"

    @classmethod
    def of_this_process(cls, inode: int) -> Self:
        """Return an owner unlike any other."""
        pid = os.getpid()
        since = datetime.now(UTC).isoformat(" ", "seconds")
        return cls(socket.gethostname(), pid, _start_of(pid) or 0, _system(), os.urandom(8).hex(), inode, since)

    @staticmethod
    def from_text(text: bytes) -> "Owner | None":
        """Return the owner that a lease file names; None when it is free, or says nothing usable."""
        try:
            return _OWNER.validate_json(text)
        except ValidationError:
            return None

    def to_text(self) -> bytes:
        """Return the text of the lease file, with the time of now."""
        tree = {**asdict(self), "renewed": datetime.now(UTC).isoformat(" ", "milliseconds")}
        return json.dumps(tree, indent=1).encode().ljust(_TEXT_BYTES - 1) + b"\n"

    def is_gone(self, quiet_s: float) -> bool:
        """Return whether it provably writes no more; it has not renewed its lease for ``quiet_s``."""
        if self.system == _system():
            return _start_of(self.pid) != self.start
        return quiet_s > STALE_S


_OWNER: Final = TypeAdapter(Owner)


class FolderLease:
    """The right to write to a module's folder, taken over when its last owner is provably gone. For one thread.

    ``release`` it. Raises HostError, naming the owner, when the folder is another writer's; OSError.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / LEASE
        self._lock = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
        try:
            self._owner = Owner.of_this_process(os.fstat(self._lock).st_ino)
            self._take()
        except BaseException:
            os.close(self._lock)
            raise
        self._renewed_at = time.monotonic()

    def renew(self) -> None:
        """Show, every RENEW_S, that the owner is alive.

        Raises HostError when another writer has it now, OSError.
        """
        if time.monotonic() - self._renewed_at < RENEW_S:
            return
        found = _read(self._path)
        if found and found != self._owner:
            raise HostError(self._refusal(found))
        self._write(self._owner.to_text())
        self._renewed_at = time.monotonic()

    def is_of(self, folder: Path) -> bool:
        """Return whether this is the lease of ``folder``, by whatever path: not of one removed, or made again, since."""
        try:
            return os.path.samestat((folder / LEASE).stat(), os.fstat(self._lock))
        except OSError:
            return False

    def release(self) -> None:
        """Give the lease back. Idempotent."""
        if self._lock < 0:
            return
        try:
            if _read(self._path) == self._owner:
                os.ftruncate(self._lock, 0)
        except OSError:
            pass  # the folder is gone, and the lease with it
        finally:
            os.close(self._lock)
            self._lock = -1

    def _take(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = True
        except BlockingIOError:
            raise HostError(self._refusal(_read(self._path))) from None
        except OSError:
            locked = False  # a file system without locks
        owner = _read(self._path)
        if owner and not owner.is_gone(self._quiet_s()):
            raise HostError(self._refusal(owner))
        self._write(self._owner.to_text())
        if not locked:
            time.sleep(_SETTLE_S)
            found = _read(self._path)
            if found != self._owner:
                raise HostError(self._refusal(found))

    def _refusal(self, owner: Owner | None) -> str:
        later = f", or wait until its lease is {STALE_S:g} s old" if owner and owner.system != _system() else ""
        return (
            f"{self.folder}: {owner or 'another process'} writes there; stop that server{later}, or choose another "
            "disk.folder or detector name"
        )

    def _quiet_s(self) -> float:
        """Return the time since the last write to the lease by the clock of the file system, which is that of all hosts."""
        probe = self._path.with_name(f"{LEASE}.{self._owner.token}")
        try:
            probe.write_bytes(b"\n")
            return probe.stat().st_mtime - self._path.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)

    def _write(self, text: bytes) -> None:
        """Write through a descriptor of its own: on NFS what is written is on the server when it is closed."""
        fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(fd, text, 0)
        finally:
            os.close(fd)


def _read(path: Path) -> Owner | None:
    """Return the owner of a lease; None when it is free."""
    with suppress(FileNotFoundError):
        owner = Owner.from_text(path.read_bytes())
        if owner and owner.inode == path.stat().st_ino:
            return owner
    return None


def _system() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {Path('/proc/self/ns/pid').readlink()}"


def _start_of(pid: int) -> int | None:
    """Return when a process started, in clock ticks since the boot; None when there is none, or but its exit code is left."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name, in brackets, may hold anything.
    state, *rest = stat[stat.rindex(")") + 2 :].split()
    return None if state in "ZX" else int(rest[18])
