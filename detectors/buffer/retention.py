"""Retention: the buffer is a buffer. What is deleted when is decided by ``plan``, which is pure.

Whole data folders go, the oldest first and all modules of a detector together; never one that a writer has open. The
newest of a module goes only for its age: a limit on size must not take the run that has just ended.
"""

import fcntl
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from detectors.buffer.layout import DETECTOR_JSON
from detectors.frame import FOLDER_MOD

log = logging.getLogger(__name__)

PERIOD_S: Final = 10.0
"""How often the limits are looked at, s."""

SETTLED_S: Final = 60.0
"""A folder written to within this time counts as in use, s: for file systems whose locks cannot be trusted."""

_OURS: Final = re.compile(r"\d+\.(bin|meta)")
_DOOMED: Final = ".deleting-"
"""Folders are renamed before their files are unlinked, so that no reader meets half of one."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is kept; None: no limit."""

    keep_bytes: int | None = None
    """Most bytes on disk of all detectors together."""
    keep_hours: float | None = None
    """Longest time since the last write to a folder, hours."""
    keep_free: int | None = None
    """Free space of the file system that is to be reached, bytes."""

    @property
    def active(self) -> bool:
        """Whether anything is ever deleted."""
        return (self.keep_bytes, self.keep_hours, self.keep_free) != (None, None, None)


@dataclass(frozen=True, slots=True)
class DataFolder:
    """One data folder of a detector: the same pulses of all its modules."""

    detector: Path
    number: int
    paths: tuple[Path, ...]
    nbytes: int
    """Bytes on disk; less than the file sizes, which have holes."""
    modified_ns: int
    """Last write to any of its files, POSIX ns."""
    in_use: bool = False
    newest: bool = False
    """Whether it is the newest of a module."""
    blocked: str = ""
    """Why it cannot be deleted, although it is not in use: something in it is not ours."""


@dataclass(frozen=True, slots=True)
class RetentionStats:
    """What the keeper did and sees."""

    folders: int = 0
    kept_bytes: int = 0
    deleted_folders: int = 0
    deleted_bytes: int = 0
    free_bytes: int = 0
    oldest_hours: float = 0.0
    """Age of the oldest folder, hours."""
    errors: int = 0
    message: str = ""
    """What stands in the way of the limits; empty when they are met."""


def plan(folders: Sequence[DataFolder], limits: Limits, *, free_bytes: int, now_ns: int) -> list[DataFolder]:
    """Return the folders to delete, the oldest first. Pure."""
    total = sum(folder.nbytes for folder in folders)
    doomed: list[DataFolder] = []
    for folder in sorted(folders, key=lambda f: (f.modified_ns, f.number)):
        too_old = limits.keep_hours is not None and now_ns - folder.modified_ns > limits.keep_hours * 3600e9
        too_much = limits.keep_bytes is not None and total > limits.keep_bytes
        too_full = limits.keep_free is not None and free_bytes < limits.keep_free
        if not (too_old or too_much or too_full):
            # The limits on size and space are met, and whatever follows is younger.
            break
        if folder.in_use or folder.blocked or (folder.newest and not too_old):
            continue
        doomed.append(folder)
        total -= folder.nbytes
        free_bytes += folder.nbytes
    return doomed


def scan(detector: Path, *, now_ns: int) -> list[DataFolder]:
    """Return the data folders of a detector; nothing when the folder holds no ``detector.json``. Raises OSError."""
    if not (detector / DETECTOR_JSON).exists():
        return []
    found: dict[int, list[Path]] = {}
    newest: set[Path] = set()
    for module in _folders(detector):
        mine = {int(p.name): p for p in _folders(module) if p.name.isdecimal() and int(p.name) % FOLDER_MOD == 0}
        for number, path in mine.items():
            found.setdefault(number, []).append(path)
        if mine:
            newest.add(max(mine.values(), key=_modified_ns))
    return [_look(detector, number, paths, newest, now_ns) for number, paths in sorted(found.items())]


def delete(folder: DataFolder) -> None:
    """Delete a data folder of all modules. Raises OSError."""
    for path in folder.paths:
        doomed = path.with_name(f"{_DOOMED}{path.name}")
        path.rename(doomed)
        shutil.rmtree(doomed)


class RetentionKeeper:
    """Keeps the detector folders ``detectors`` within ``limits``: a thread that looks every PERIOD_S.

    Used as a context manager, or with ``start`` and ``close``; ``run_once`` looks now. ``stats`` and ``set_limits`` are
    for any thread.
    """

    def __init__(self, detectors: Iterable[Path], limits: Limits) -> None:
        self._detectors = tuple(detectors)
        self._limits = limits
        self._stats = RetentionStats()
        self._wake = threading.Condition()
        self._stopping = False
        self._asked = False
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def limits(self) -> Limits:
        """The limits in force."""
        return self._limits

    def set_limits(self, limits: Limits) -> None:
        """Change the limits; they are looked at soon, not at the next period."""
        with self._wake:
            self._limits = limits
            self._asked = True
            self._wake.notify()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread, after the folder it is deleting. Idempotent."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()

    def stats(self) -> RetentionStats:
        """Return a snapshot."""
        return self._stats

    def run_once(self) -> RetentionStats:
        """Look, delete what is beyond the limits, and return the stats."""
        now_ns = time.time_ns()
        try:
            self._keep(now_ns)
        except OSError as error:
            self._fail(error)
        return self._stats

    def _keep(self, now_ns: int) -> None:
        limits = self._limits
        folders: list[DataFolder] = []
        for detector in self._detectors:
            _finish_deleting(detector)
            folders += scan(detector, now_ns=now_ns)
        free = min((shutil.disk_usage(d).free for d in self._detectors if d.exists()), default=0)
        message = ""
        for folder in plan(folders, limits, free_bytes=free, now_ns=now_ns):
            if self._stopping:
                return
            delete(folder)
            folders.remove(folder)
            free += folder.nbytes
            log.info("%s: deleted data folder %d, %d bytes", folder.detector, folder.number, folder.nbytes)
            self._stats = replace(
                self._stats,
                deleted_folders=self._stats.deleted_folders + 1,
                deleted_bytes=self._stats.deleted_bytes + folder.nbytes,
            )
        # Whatever a plan would still want if nothing were in the way, is in the way.
        free_to_go = [replace(f, in_use=False, newest=False, blocked="") for f in folders]
        for wanted in plan(free_to_go, limits, free_bytes=free, now_ns=now_ns)[:1]:
            folder = folders[free_to_go.index(wanted)]
            reason = folder.blocked or ("is in use" if folder.in_use else "is the newest")
            message = f"{folder.detector}: data folder {folder.number} is to go but {reason}"
        oldest = min((f.modified_ns for f in folders), default=now_ns)
        self._stats = replace(
            self._stats,
            folders=len(folders),
            kept_bytes=sum(f.nbytes for f in folders),
            free_bytes=free,
            oldest_hours=max(0.0, (now_ns - oldest) / 3600e9),
            message=message,
        )

    def _fail(self, error: OSError) -> None:
        message = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
        if message != self._stats.message:
            log.error("retention: %s", message)
        self._stats = replace(self._stats, errors=self._stats.errors + 1, message=message)

    def _run(self) -> None:
        while True:
            self.run_once()
            with self._wake:
                self._wake.wait_for(lambda: self._stopping or self._asked, PERIOD_S)
                self._asked = False
                if self._stopping:
                    return


def _folders(path: Path) -> Iterator[Path]:
    with os.scandir(path) as entries:
        yield from sorted(Path(e.path) for e in entries if e.is_dir(follow_symlinks=False) and e.name[0] != ".")


def _modified_ns(path: Path) -> int:
    with os.scandir(path) as entries:
        return max((e.stat().st_mtime_ns for e in entries), default=path.stat().st_mtime_ns)


def _look(detector: Path, number: int, paths: list[Path], newest: set[Path], now_ns: int) -> DataFolder:
    nbytes, modified, blocked, in_use = 0, 0, "", False
    for path in paths:
        modified = max(modified, path.stat().st_mtime_ns)
        with os.scandir(path) as entries:
            for entry in entries:
                stat = entry.stat(follow_symlinks=False)
                nbytes += stat.st_blocks * 512
                modified = max(modified, stat.st_mtime_ns)
                if not _OURS.fullmatch(entry.name):
                    blocked = f"holds {entry.path}, which is not the buffer's"
                elif not in_use and entry.name.endswith(".bin"):
                    in_use = _is_open(entry.path)
    in_use = in_use or now_ns - modified < SETTLED_S * 1e9
    is_newest = not newest.isdisjoint(paths)
    return DataFolder(detector, number, tuple(paths), nbytes, modified, in_use, is_newest, blocked)


def _is_open(path: str) -> bool:
    """Return whether a writer holds a file: writers keep a shared lock on what they have open."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without locks; the time of the last write decides
    finally:
        os.close(fd)
    return False


def _finish_deleting(detector: Path) -> None:
    """Delete what a keeper that was killed had renamed but not yet deleted."""
    with suppress(FileNotFoundError):
        for module in _folders(detector):
            for doomed in module.glob(f"{_DOOMED}*"):
                shutil.rmtree(doomed)
