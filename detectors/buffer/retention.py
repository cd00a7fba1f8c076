"""Retention: the buffer is a buffer. Looks at the data folders and deletes those that ``retention_plan`` names."""

import fcntl
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from detectors.buffer.layout import DETECTOR_JSON
from detectors.buffer.retention_plan import DataFolder, Limits, obstacle, plan
from detectors.frame import FOLDER_MOD

log = logging.getLogger(__name__)

PERIOD_S: Final = 10.0
"""How often the limits are looked at, s; less often where a look takes long."""

SHARE: Final = 0.05
"""Largest share of the time that is spent looking: a buffer of many thousand files takes seconds to look through."""

SETTLED_S: Final = 60.0
"""A folder written to within this time counts as in use, s: for file systems whose locks cannot be trusted."""

_OURS: Final = re.compile(r"\d+\.(bin|meta)")
_DOOMED: Final = ".deleting-"
"""Folders are renamed before their files are unlinked, so that no reader meets half of one."""


@dataclass(frozen=True, slots=True)
class RetentionStats:
    """What the keeper did and sees."""

    state: str = "Disabled"
    """Disabled (no limits), Idle (they are met), Deleting, Blocked (they cannot be met), Failing."""
    folders: int = 0
    kept_bytes: int = 0
    deleted_folders: int = 0
    deleted_bytes: int = 0
    free_bytes: int = 0
    """Free space of the fullest file system, bytes."""
    oldest_hours: float = 0.0
    """Age of the oldest folder, hours."""
    oldest_pulse: int = 0
    """Pulse id that the oldest folder begins with."""
    errors: int = 0
    message: str = ""
    """What stands in the way of the limits; empty when they are met."""
    last_action: str = ""
    """What was deleted last, and when."""


def scan(detector: Path, *, now_ns: int, stopping: Callable[[], bool] = lambda: False) -> list[DataFolder]:
    """Return the data folders of a detector; nothing when the folder holds no ``detector.json``. Raises OSError.

    When ``stopping`` cut it short, some are left out.
    """
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
    return [_look(detector, n, paths, newest, now_ns) for n, paths in sorted(found.items()) if not stopping()]


def delete(folder: DataFolder, stopping: Callable[[], bool]) -> bool:
    """Delete a data folder of all modules; return False when ``stopping`` cut it short. Raises OSError.

    What is left then is out of every reader's sight, and goes at the next look.
    """
    doomed = [path.with_name(f"{_DOOMED}{path.name}") for path in folder.paths]
    for path, hidden in zip(folder.paths, doomed, strict=True):
        path.rename(hidden)
    return all(_clear(hidden, stopping) for hidden in doomed)


class RetentionKeeper:
    """Keeps the detector folders ``detectors`` within ``limits``: a thread that looks every PERIOD_S.

    Used as a context manager, or with ``start`` and ``close``; ``run_once`` looks now. ``stats``, ``set_limits`` and
    ``set_detectors`` are for any thread.
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

    @property
    def detectors(self) -> tuple[Path, ...]:
        """The detector folders that are kept within the limits, together."""
        return self._detectors

    def set_detectors(self, detectors: Iterable[Path]) -> None:
        """Keep other detector folders from now on. What lies in those left out is no longer touched."""
        with self._wake:
            self._detectors = tuple(detectors)
            self._asked = True
            self._wake.notify()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread, after the file or folder that it is at. Idempotent."""
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
        limits, detectors = self._limits, self._detectors
        folders: list[DataFolder] = []
        for detector in detectors:
            _finish_deleting(detector, self._is_stopping)
            folders += scan(detector, now_ns=now_ns, stopping=self._is_stopping)
        if self._stopping:
            return
        free = _free_bytes(detectors)
        for folder in plan(folders, limits, free_bytes=free, now_ns=now_ns):
            self._stats = replace(self._stats, state="Deleting")
            if self._stopping or not delete(folder, self._is_stopping):
                return
            folders.remove(folder)
            free[folder.device] += folder.nbytes
            self._deleted(folder)
        message = obstacle(folders, limits, free, now_ns)
        oldest = min(folders, key=lambda f: (f.modified_ns, f.number), default=None)
        self._stats = replace(
            self._stats,
            state="Blocked" if message else "Idle" if limits.active else "Disabled",
            folders=len(folders),
            kept_bytes=sum(f.nbytes for f in folders),
            free_bytes=min(free.values(), default=0),
            oldest_hours=max(0.0, (now_ns - oldest.modified_ns) / 3600e9) if oldest else 0.0,
            oldest_pulse=oldest.number if oldest else 0,
            message=message,
        )

    def _deleted(self, folder: DataFolder) -> None:
        log.info("%s: deleted data folder %d, %d bytes", folder.detector, folder.number, folder.nbytes)
        when = datetime.now().astimezone().isoformat(" ", "seconds")
        self._stats = replace(
            self._stats,
            deleted_folders=self._stats.deleted_folders + 1,
            deleted_bytes=self._stats.deleted_bytes + folder.nbytes,
            last_action=f"{when}: deleted data folder {folder.number} of {folder.detector}, {folder.nbytes:,} bytes",
        )

    def _fail(self, error: OSError) -> None:
        message = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
        if message != self._stats.message:
            log.error("retention: %s", message)
        self._stats = replace(self._stats, state="Failing", errors=self._stats.errors + 1, message=message)

    def _is_stopping(self) -> bool:
        return self._stopping

    def _run(self) -> None:
        while True:
            began_s = time.monotonic()
            self.run_once()
            pause_s = max(PERIOD_S, (time.monotonic() - began_s) / SHARE)
            with self._wake:
                self._wake.wait_for(lambda: self._stopping or self._asked, pause_s)
                self._asked = False
                if self._stopping:
                    return


def _free_bytes(detectors: Iterable[Path]) -> dict[int, int]:
    """Return the free space by file system."""
    return {d.stat().st_dev: shutil.disk_usage(d).free for d in detectors if d.exists()}


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
    device = detector.stat().st_dev
    return DataFolder(detector, number, tuple(paths), nbytes, modified, in_use, is_newest, blocked, device)


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


def _finish_deleting(detector: Path, stopping: Callable[[], bool]) -> None:
    """Delete what a keeper that was stopped or killed had renamed but not yet deleted."""
    with suppress(FileNotFoundError):
        for module in _folders(detector):
            for doomed in module.glob(f"{_DOOMED}*"):
                if not _clear(doomed, stopping):
                    return


def _clear(folder: Path, stopping: Callable[[], bool]) -> bool:
    """Delete the files of a folder, and it; return False when ``stopping`` cut it short.

    File by file, since one may be of a GiB and take its time.
    """
    for path in list(folder.iterdir()):
        if stopping():
            return False
        path.unlink()
    folder.rmdir()
    return True
