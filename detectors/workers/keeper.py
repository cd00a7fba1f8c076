"""The worker that keeps the disks of one host within the limits of the retention, with an IOC and without.

It deletes what the sources of its host wrote. Where these write it learns from their snapshots, and the limits are those
of the configuration until the IOC sets others.
"""

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
from detectors.outputs.outputs import worker_name
from detectors.runtime import Runtime
from detectors.stats import KeeperStatus, LimitsShown
from detectors.workers.account import Account
from detectors.workers.commands import MAX_MESSAGE_BYTES
from detectors.workers.file_thread import FileThread
from detectors.workers.runtime import IDLE_S, run_worker
from detectors.workers.wake import Wake

KEEPER: Final = "keeper"
"""What the names of these workers begin with: ``keeper.daq1``."""


def run(config: Config, host: str) -> int:
    """Keep the disks of a host within the limits until it is to stop. Returns the exit code.

    Raises ConfigError for a host without sources that write to disk, HostError for a limit that its disk can never meet.
    """
    runtime = Runtime(config.detector.prefix)
    return run_worker(KeeperPart(config, runtime, host), runtime, config.run.drain_s)


class KeeperPart:
    """The part of a worker that keeps a host's disks within the limits."""

    blocks: Mapping[str, Sequence[str]] = {}
    empty = KeeperStatus()

    def __init__(self, config: Config, runtime: Runtime, host: str) -> None:
        kept = kept_hosts(config)
        if config.disk is None or host not in kept:
            raise ConfigError(
                f"keeper: found the host {host!r}, expected one with sources that write to disk: {', '.join(kept) or 'none has'}"
            )
        self.name = f"{KEEPER}.{host}"
        self._runtime = runtime
        sources = kept[host]
        self._detectors = {worker_name(source): config.detector_of(source) for source in sources}
        self._folders = {worker_name(source): config.disk_folder(source) for source in sources}
        """The root folder that each source writes below."""
        self._keeper = RetentionKeeper(
            self._wanted(),
            configured_limits(config.disk),
            server=runtime.prefix,
            roots=config.disk_roots(sources[0]),
            others=modules_of_others(config, host),
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
        snapshot: dict[str, Any] = orjson.loads(message)
        worker, folder = snapshot["worker"], snapshot["disk"]["folder"]
        if folder:  # a worker that starts has none yet
            self._folders[worker] = Path(folder).parent

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
