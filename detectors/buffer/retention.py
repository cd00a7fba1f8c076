"""Retention: the buffer is a buffer. Looks at the data files of one server and deletes those that ``retention_plan`` names."""

import fcntl
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from detectors.buffer.claim import claimed_since_ns
from detectors.buffer.layout import DETECTOR_JSON, LATEST, relative_path, sidecar_path
from detectors.buffer.listing import data_files
from detectors.buffer.registration import read_detector
from detectors.buffer.regular import is_missing, read_regular
from detectors.buffer.retention_plan import Limits, PulseFiles, obstacle, plan
from detectors.errors import PebbleDaqError
from detectors.roots import confined
from detectors.stats import RetentionStats

log = logging.getLogger(__name__)

PERIOD_S: Final = 10.0
"""How often the limits are checked, s; less often where a check takes long."""

SHARE: Final = 0.05
"""Largest share of the time that is spent looking: a buffer of many thousand files takes seconds to look through."""

SETTLED_S: Final = 60.0
"""A file written to within this time counts as in use, s: for file systems whose locks cannot be trusted."""


def scan(
    detector: Path,
    server: str,
    *,
    now_ns: int,
    stopping: Callable[[], bool] = lambda: False,
    others: Container[tuple[str, str]] = (),
) -> list[PulseFiles]:
    """Return the files of a detector's registered modules that ``server`` wrote; nothing when there is no ``detector.json``.

    ``others`` are modules that are left alone, each as the names of its detector's folder and of its own. When ``stopping`` cut it short, some are left out. Raises OSError or BufferReadError.
    """
    if is_missing(detector / DETECTOR_JSON):
        return []
    found: dict[int, PulseFiles] = {}
    for module in read_detector(detector).modules:
        folder = detector / module
        since_ns = claimed_since_ns(folder, server)
        if since_ns is None or folder.is_symlink() or (detector.name, module) in others:
            continue
        mine: list[PulseFiles] = []
        for first in data_files(folder):
            if stopping():
                break
            one = _look(detector, folder / relative_path(first), first, now_ns)
            if one and one.modified_ns >= since_ns:
                mine.append(one)
        newest = max(mine, key=lambda one: one.modified_ns, default=None)
        for one in mine:
            found[one.first_pulse] = _joined(found.get(one.first_pulse), replace(one, newest=one is newest))
    return [found[first] for first in sorted(found)]


def delete(files: PulseFiles, stopping: Callable[[], bool]) -> bool:
    """Delete data files with their sidecars, and the folders that are empty then. Raises OSError.

    Return False when it was not done: a writer has one open, or ``stopping`` cut it short; what is left then goes at the
    next look.
    """
    with suppress(FileNotFoundError):
        if any(_is_open(path) for path in files.paths):
            return False
    for path in files.paths:
        if stopping():
            return False
        # One at a time, since one may be of a GiB and take its time; a sidecar alone would never be found again.
        sidecar_path(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        folder = path.parent.parent
        with suppress(OSError):
            # The newest goes for its age: LATEST must not name a file that is not there.
            if read_regular(folder / LATEST).strip() == str(path.relative_to(folder)).encode():
                (folder / LATEST).unlink()
        with suppress(OSError):
            path.parent.rmdir()
    return True


class RetentionKeeper:
    """A thread that deletes, every PERIOD_S, what ``server`` wrote to the folders ``detectors`` beyond ``limits``.

    ``server`` is the PV prefix. Nothing outside of ``roots`` is touched, whatever symlinks there are, and no module of
    ``others``, as ``scan`` has them: those that another keeper keeps.
    ``start`` it and ``close`` it; ``run_once`` checks now. ``stats``, ``set_limits`` and ``set_detectors`` are for any thread.
    """

    def __init__(
        self,
        detectors: Iterable[Path],
        limits: Limits,
        *,
        server: str,
        roots: Iterable[Path],
        others: Iterable[tuple[str, str]] = (),
    ) -> None:
        self.detectors = tuple(detectors)
        """The detector folders that are kept within the limits, together."""
        self.limits = limits
        """The limits in force."""
        self._server = server
        self._roots = tuple(roots)
        self._others = frozenset(others)
        self.stats = RetentionStats()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def set_limits(self, limits: Limits) -> None:
        """Change the limits; they are checked at once, not after the next period."""
        self.limits = limits
        self._wake.set()

    def set_detectors(self, detectors: Iterable[Path]) -> None:
        """Keep other detector folders from now on. What lies in those left out is no longer touched."""
        self.detectors = tuple(detectors)
        self._wake.set()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread, after the file or folder that it is at. Idempotent."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def run_once(self) -> RetentionStats:
        """Check the limits, delete what is beyond them, and return the stats."""
        try:
            self._keep(time.time_ns())
        except (OSError, PebbleDaqError) as error:
            self._fail(error)
        return self.stats

    def _keep(self, now_ns: int) -> None:
        limits, detectors = self.limits, self.detectors
        files: list[PulseFiles] = []
        for detector in detectors:
            if not is_missing(detector):
                confined(detector, self._roots, "retention")
                files += scan(
                    detector, self._server, now_ns=now_ns, stopping=self._stopping.is_set, others=self._others
                )
        if self._stopping.is_set():
            return
        free = {d.stat().st_dev: shutil.disk_usage(d).free for d in detectors if d.exists()}
        while True:
            gone: set[PulseFiles] = set()
            opened: set[PulseFiles] = set()
            for one in plan(files, limits, free_bytes=free, now_ns=now_ns):
                self.stats = replace(self.stats, state="Deleting")
                if delete(one, self._stopping.is_set):
                    gone.add(one)
                    free[one.device] += one.nbytes
                    self._deleted(one)
                elif self._stopping.is_set():
                    return
                else:
                    opened.add(one)
            files = [replace(one, in_use=one.in_use or one in opened) for one in files if one not in gone]
            if not opened:
                break  # else others go instead of those that a writer has open
        message = obstacle(files, limits, free, now_ns)
        oldest = min(files, key=lambda f: (f.modified_ns, f.first_pulse), default=None)
        self.stats = replace(
            self.stats,
            state="Blocked" if message else "Idle" if limits.active else "Off",
            files=sum(len(one.paths) for one in files),
            kept_bytes=sum(one.nbytes for one in files),
            free_bytes=min(free.values(), default=0),
            oldest_hours=max(0.0, (now_ns - oldest.modified_ns) / 3600e9) if oldest else 0.0,
            oldest_pulse=oldest.first_pulse if oldest else 0,
            message=message,
        )

    def _deleted(self, files: PulseFiles) -> None:
        log.info("%s: deleted the files %d.bin, %d bytes", files.detector, files.first_pulse, files.nbytes)
        when = datetime.now().astimezone().isoformat(" ", "seconds")
        self.stats = replace(
            self.stats,
            deleted_files=self.stats.deleted_files + len(files.paths),
            deleted_bytes=self.stats.deleted_bytes + files.nbytes,
            last_action=f"{when}: deleted the files {files.first_pulse}.bin of {files.detector}, {files.nbytes:,} bytes",
        )

    def _fail(self, error: OSError | PebbleDaqError) -> None:
        message = str(error)
        if isinstance(error, OSError):
            message = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or message
        if message != self.stats.message:
            log.error("retention: %s", message)
        self.stats = replace(self.stats, state="Failing", errors=self.stats.errors + 1, message=message)

    def _run(self) -> None:
        while not self._stopping.is_set():
            began_s = time.monotonic()
            self.run_once()
            self._wake.wait(max(PERIOD_S, (time.monotonic() - began_s) / SHARE))
            self._wake.clear()


def _look(detector: Path, path: Path, first_pulse: int, now_ns: int) -> PulseFiles | None:
    """Return what there is to know of one file; None when it is gone."""
    there: list[os.stat_result] = []
    for each in (path, sidecar_path(path)):
        with suppress(FileNotFoundError):
            there.append(each.stat(follow_symlinks=False))
    if not there:
        return None
    modified_ns = max(found.st_mtime_ns for found in there)
    return PulseFiles(
        detector,
        first_pulse,
        (path,),
        sum(found.st_blocks for found in there) * 512,
        modified_ns,
        in_use=now_ns - modified_ns < SETTLED_S * 1e9,
        device=there[0].st_dev,
    )


def _joined(others: PulseFiles | None, one: PulseFiles) -> PulseFiles:
    """Return the files of several modules together."""
    if others is None:
        return one
    return replace(
        others,
        paths=others.paths + one.paths,
        nbytes=others.nbytes + one.nbytes,
        modified_ns=max(others.modified_ns, one.modified_ns),
        in_use=others.in_use or one.in_use,
        newest=others.newest or one.newest,
    )


def _is_open(path: Path) -> bool:
    """Return whether a writer holds a file: writers keep a shared lock on what they have open."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without locks; the time of the last write decides
    finally:
        os.close(fd)
    return False
