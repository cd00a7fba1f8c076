"""Names of what a running detector leaves in the system: sockets, locks and shared-memory segments.

All of them follow from the PV prefix and the worker's name, so that every process finds every other without asking.
"""

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from detectors.errors import HostError

SHM_FOLDER = Path("/dev/shm")  # noqa: S108  the kernel's own place for shared memory

COUNTERS_VARIABLE = "PEBBLEDAQ_COUNTERS"
"""Environment variable: a folder for the counters pages, on a local disk if totals are to survive a reboot."""


@dataclass(frozen=True, slots=True)
class RuntimeNames:
    """The names of one detector server, from its PV prefix."""

    prefix: str

    @property
    def key(self) -> str:
        """File-name form of the prefix, made unique by a hash: short, since a socket path holds 107 bytes."""
        slug = re.sub(r"[^A-Za-z0-9]+", "-", self.prefix).strip("-")[:24]
        return f"{slug}-{hashlib.sha256(self.prefix.encode()).hexdigest()[:8]}"

    @property
    def folder(self) -> Path:
        """Folder of sockets and locks, mode 0700: a process that reaches a command socket commands the worker."""
        return self.all_folders() / self.key

    @staticmethod
    def all_folders() -> Path:
        """Folder of the folders of all systems of this account."""
        base = os.environ.get("XDG_RUNTIME_DIR") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108
        return Path(base) / f"pebbledaq-{os.getuid()}"

    def make_folder(self) -> Path:
        """Create the folder if need be, and return it.

        Raises HostError when it, or its parent, was made by another user or lets others in.
        """
        self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        for folder in (self.folder.parent, self.folder):
            found = folder.lstat()
            mode = stat.S_IMODE(found.st_mode)
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or mode != 0o700:
                raise HostError(
                    f"{folder}: found owner {found.st_uid} and mode {mode:o}, expected a folder of owner {os.getuid()} with "
                    "mode 700: others could command the workers; remove it, or set XDG_RUNTIME_DIR to another folder"
                )
        return self.folder

    def status(self, worker: str) -> str:
        """ZMQ address on which a worker publishes its snapshots."""
        return f"ipc://{self.folder}/{worker}.status"

    def command(self, worker: str) -> str:
        """ZMQ address on which a worker answers commands."""
        return f"ipc://{self.folder}/{worker}.command"

    def notify(self, worker: str) -> str:
        """ZMQ address on which a worker publishes each finished pulse_id, 8 bytes little-endian."""
        return f"ipc://{self.folder}/{worker}.notify"

    def frames(self, worker: str) -> str:
        """ZMQ address of a worker's module stream, where the configuration names no tcp port."""
        return f"ipc://{self.folder}/{worker}.frames"

    def lock(self, worker: str) -> Path:
        """File that a running worker holds locked; it contains the worker's pid and the PV prefix."""
        return self.folder / f"{worker}.lock"

    def counters(self, worker: str) -> Path:
        """Counters page of a worker, which outlives it; in the folder that the environment names, else in shared memory."""
        folder = os.environ.get(COUNTERS_VARIABLE) or SHM_FOLDER
        return Path(folder) / f"pebbledaq-{os.getuid()}-{self.key}-{worker}.counters"

    def shm(self, worker: str) -> Path:
        """Shared-memory segment of a worker's pebble.

        Its name has a hash of the runtime folder: a process that does not see the locks of a running system, because its
        runtime folder is another, makes a segment of its own and leaves that system's alone.
        """
        place = hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]
        return SHM_FOLDER / f"pebbledaq-{os.getuid()}-{self.key}-{place}-{worker}"
