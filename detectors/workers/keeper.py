"""The worker that keeps the disks of one host within the limits of the retention, with an IOC and without.

It deletes what the sources of its host wrote. Where these write it learns from their snapshots, and the limits are those
of the configuration until the IOC sets others.
"""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import zmq

from detectors.buffer.retention import RetentionKeeper
from detectors.buffer.retention_limits import beyond, configured_limits, limits_from, shown_limits
from detectors.buffer.retention_plan import Limits
from detectors.config import Config
from detectors.errors import CommandError, ConfigError, HostError
from detectors.hosts import endpoint
from detectors.runtime import Runtime
from detectors.stats import KeeperStatus, LimitsShown
from detectors.worker_names import KEEPER, keepers, worker_name
from detectors.workers.account import Account
from detectors.workers.commands import MAX_MESSAGE_BYTES
from detectors.workers.file_thread import FileThread
from detectors.workers.runtime import IDLE_S, run_worker
from detectors.workers.wake import Wake

log = logging.getLogger(__name__)


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
    runtime = Runtime(config.detector.prefix)
    part = KeeperPart(config, runtime, host)
    return run_worker(part, runtime, config.run.drain_s, endpoint(config, part.name))


class KeeperPart:
    """The part of a worker that keeps a host's disks within the limits."""

    blocks: Mapping[str, Sequence[str]] = {}
    empty = KeeperStatus()

    def __init__(self, config: Config, runtime: Runtime, host: str) -> None:
        assert config.disk  # or no host is kept
        self.name = f"{KEEPER}.{host}"
        self._runtime = runtime
        sources = config.sources_on(host)
        self._detectors = {worker_name(source): config.detector_of(source) for source in sources}
        self._folders = {worker_name(source): config.disk_folder(source) or config.disk.folder for source in sources}
        """The root folder that each source writes below."""
        self._keeper = RetentionKeeper(
            self._wanted(),
            configured_limits(config.disk),
            server=runtime.prefix,
            roots=config.disk_roots(sources[0]),
            others=modules_elsewhere(config, host),
        )
        self.commands = {"limits": self._set_limits, "check_limits": self._check_limits}

    def open(self, stack: ExitStack, wake: Wake, account: Account) -> str:  # noqa: ARG002
        """Begin to keep the limits. Raises HostError for one that a disk can never meet."""
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
        self._keeper.start()
        stack.callback(self._keeper.close)
        return " ".join(map(str, self._keeper.detectors))

    def step(self) -> float:
        """Follow the folders of the sources. Return how long to wait."""
        while self._snapshots.poll(0):
            self._take(self._snapshots.recv())
        wanted = self._wanted()
        if wanted != self._keeper.detectors:
            self._keeper.set_detectors(wanted)
        return IDLE_S

    def snapshot(self) -> KeeperStatus:
        """Return what there is to know."""
        stats = self._keeper.stats
        return KeeperStatus(
            state=stats.state, message=stats.message, keep=shown_limits(self._keeper.limits), retention=stats
        )

    def finish(self, deadline_s: float) -> None:
        """Leave the rest of a deletion to the next life."""

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

        def set_them() -> None:
            self._keeper.set_limits(self._checked(size_gib, hours, free_gib))

        return self._files.do(set_them)

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


def modules_elsewhere(config: Config, host: str | None) -> set[tuple[str, str]]:
    """Return the modules of other hosts, each as the names of its detector's folder and of its own.

    They are kept there, also where hosts share one folder.
    """
    elsewhere = [source for source in config.sources if source.host != host]
    return {(config.detector_of(source), config.module_of(source)) for source in elsewhere}
