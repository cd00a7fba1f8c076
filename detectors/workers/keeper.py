"""The worker that keeps the disks of one host within the limits of the retention, with an IOC and without.

It deletes what the sources of its host wrote. Where these write it learns from their snapshots. The limits are those of the
configuration until the IOC sets others, which are kept in the counters page: a keeper that is started again has them, too.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import orjson
import zmq

from detectors.buffer.retention import RetentionKeeper
from detectors.buffer.retention_limits import beyond, configured_limits, limits_from, shown_limits
from detectors.buffer.retention_plan import Limits
from detectors.config import Config
from detectors.errors import CommandError, ConfigError, HostError
from detectors.stats import KeeperStatus, LimitsShown
from detectors.worker_names import KEEPER, keepers, worker_name
from detectors.workers.account import Account
from detectors.workers.commands import MAX_MESSAGE_BYTES
from detectors.workers.file_thread import FileThread
from detectors.workers.runtime import IDLE_S, run_worker
from detectors.workers.wake import Wake

log = logging.getLogger(__name__)

SETTLE_S: Final = 5.0
"""Configured limits hold so long after the start, s: an IOC that has others, or none, sets them before anything is deleted."""


def kept_host(config: Config, host: str | None) -> str:
    """Return the name of a host that has a keeper; without a name that of the only one.

    Raises ConfigError when there is none of that name, or several and no name.
    """
    kept = list(keepers(config).values())
    if len(kept) == 1 and host is None:
        return kept[0]
    if host is None or host not in kept:
        found = "no name" if host is None else repr(host)
        known = f"one of {', '.join(kept)}" if kept else "a configuration with a [[host]] whose sources write to disk"
        raise ConfigError(f"keeper: found {found}, expected {known}")
    return host


def run(config: Config, host: str) -> int:
    """Keep the disks of a host within the limits until it is to stop. Returns the exit code.

    Raises HostError for a limit that its disk can never meet.
    """
    return run_worker(KeeperPart(config, host), config)


class KeeperPart:
    """The part of a worker that keeps a host's disks within the limits."""

    blocks: Mapping[str, Sequence[str]] = {"limits": ("last.set", "last.keep_bytes", "last.keep_s", "last.free_bytes")}
    empty = KeeperStatus()

    def __init__(self, config: Config, host: str) -> None:
        assert config.disk  # or no host is kept
        self.name = f"{KEEPER}.{host}"
        self._runtime = config.runtime_names
        sources = config.sources_on(host)
        self._detectors = {worker_name(source): config.detector_of(source) for source in sources}
        self._folders = {worker_name(source): config.disk_folder(source) or config.disk.folder for source in sources}
        """The root folder that each source writes below."""
        self._configured = configured_limits(config.disk)
        self._keeper = RetentionKeeper(
            self._wanted(),
            self._configured,
            server=config.detector.prefix,
            roots=config.disk_roots(sources[0]),
            others=modules_elsewhere(config, host),
        )
        self.commands = {"limits": self._set_limits, "check_limits": self._check_limits}

    def open(self, stack: ExitStack, wake: Wake, account: Account) -> str:  # noqa: ARG002
        """Take the limits of the life before, if they were set. Raises HostError for one that a disk can never meet."""
        self._page = account["limits"]
        set_before = _limits_before(account.last)
        if set_before and not beyond(set_before.keep_free, self._keeper.detectors):
            self._keeper.set_limits(set_before)
        if problem := beyond(self._keeper.limits.keep_free, self._keeper.detectors):
            raise HostError(f"disk.keep_free: {problem}")
        self._files = FileThread()
        stack.callback(self._files.close)
        context = stack.enter_context(zmq.Context())
        self._snapshots = stack.enter_context(context.socket(zmq.SUB))
        self._snapshots.linger = 0
        self._snapshots.maxmsgsize = MAX_MESSAGE_BYTES
        self._snapshots.subscribe(b"")
        for worker in self._folders:
            self._snapshots.connect(self._runtime.status(worker))
        stack.callback(self._keeper.close)
        self._began_s, self._keeps = time.monotonic(), False
        self._noted: Limits | None = None
        return " ".join(map(str, self._keeper.detectors))

    def step(self) -> float:
        """Follow the folders of the sources. Return how long to wait."""
        while self._snapshots.poll(0):
            self._take(self._snapshots.recv())
        wanted = self._wanted()
        if wanted != self._keeper.detectors:
            self._keeper.set_detectors(wanted)
        limits = self._keeper.limits
        if limits is not self._noted:
            self._note(limits)
        if not self._keeps and (limits != self._configured or not limits.active or self._settled):
            self._keeper.start()
            self._keeps = True
        return IDLE_S

    def snapshot(self) -> KeeperStatus:
        """Return what there is to know."""
        stats = self._keeper.stats
        return KeeperStatus(
            state=stats.state if self._keeps else "Starting",
            message=stats.message,
            keep=shown_limits(self._keeper.limits),
            retention=stats,
        )

    def finish(self, deadline_s: float) -> None:  # noqa: ARG002
        """Leave the rest of a deletion to the next life, and the limits that it is to have."""
        self._note(self._keeper.limits)

    @property
    def _settled(self) -> bool:
        return time.monotonic() - self._began_s > SETTLE_S

    def _note(self, limits: Limits) -> None:
        """Keep limits for the next life; those of the configuration are left to it."""
        self._noted = limits
        is_set = limits != self._configured
        hours = limits.keep_hours or 0
        self._page.put(is_set, limits.keep_bytes or 0, hours * 3600, limits.keep_free or 0)

    def _take(self, message: bytes) -> None:
        try:
            snapshot: dict[str, Any] = orjson.loads(message)
            worker, folder = snapshot["worker"], snapshot["disk"]["folder"]
            if folder:  # a worker that starts has none yet
                self._folders[worker] = Path(folder).parent
        except (ValueError, KeyError, TypeError):
            log.error("found %r, expected a worker's snapshot", bytes(message[:80]))  # noqa: TRY400

    def _wanted(self) -> tuple[Path, ...]:
        """Return the detector folders to keep."""
        return tuple(sorted({root / self._detectors[worker] for worker, root in self._folders.items()}))

    def _set_limits(self, size_gib: float, hours: float, free_gib: float) -> "Future[None]":
        """Keep other limits from now on, as ``LimitsShown`` has them. The Future raises CommandError."""
        return self._files.do(lambda: self._keeper.set_limits(self._checked(size_gib, hours, free_gib)))

    def _check_limits(self, size_gib: float, hours: float, free_gib: float) -> "Future[None]":
        """Look at limits and leave those in force. The Future raises CommandError when ``limits`` would refuse them."""

        def check_them() -> None:
            self._checked(size_gib, hours, free_gib)

        return self._files.do(check_them)

    def _checked(self, size_gib: float, hours: float, free_gib: float) -> Limits:
        limits = limits_from(LimitsShown(size_gib, hours, free_gib))
        if problem := beyond(limits.keep_free, self._keeper.detectors):
            raise CommandError(problem)
        return limits


def _limits_before(last: Mapping[str, float]) -> Limits | None:
    """Return the limits that were set in the life before; None when they were those of the configuration."""
    if not last.get("last.set"):
        return None
    nbytes, free = int(last["last.keep_bytes"]), int(last["last.free_bytes"])
    return Limits(nbytes or None, last["last.keep_s"] / 3600 or None, free or None)


def modules_elsewhere(config: Config, host: str | None) -> set[tuple[str, str]]:
    """Return the modules of other hosts, each as the names of its detector's folder and of its own.

    They are kept there, also where hosts share one folder.
    """
    elsewhere = [source for source in config.sources if source.host != host]
    return {(config.detector_of(source), config.module_of(source)) for source in elsewhere}
