"""The buffers that a PvMonitor has at present, what commands have set for them, and the counts of those it had before."""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from detectors.assembly.datagram import DatagramLayout
from detectors.buffer.layout import LAST_PULSE
from detectors.buffer.listing import highest_pulse
from detectors.config import Config, PvaSection
from detectors.errors import CommandError, HostError, PebbleDaqError
from detectors.outputs.stage import StageAccount
from detectors.pools.sizing import BufferPlan
from detectors.roots import confined
from detectors.stats import OutputStats, PoolStats
from detectors.workers.monitor.buffers import MonitorBuffers
from detectors.workers.monitor.messages import Taken

log = logging.getLogger(__name__)

DRAIN_S: Final = 5.0
"""How long outputs may take to write what is queued before their memory is freed, s."""

_COUNTS: Final[dict[type, tuple[str, ...]]] = {
    OutputStats: (
        "offered",
        "written",
        "dropped",
        "disabled",
        "overwritten",
        "durable",
        "lost_on_disk",
        "unsynced",
        "bytes",
        "errors",
    ),
    PoolStats: ("acquires", "returns", "collected", "misses", "exhausted", "overruns", "out_of_order", "wait_s"),
}

_HIGHEST_PULSE: Final = LAST_PULSE >> 1
"""Above a higher one no pulse ids are made: the next ones might not fit into 64 bits."""

T = TypeVar("T", OutputStats, PoolStats)


def add_counts(past: T, now: T) -> T:
    """Return the snapshot of an output or a pool with the counts of those before it."""
    counts = {name: getattr(past, name) + getattr(now, name) for name in _COUNTS[type(now)]}
    if isinstance(past, PoolStats) and isinstance(now, PoolStats):
        counts["high_water"] = max(past.high_water, now.high_water)
    return replace(now, **counts)


def side_by_side(pools: Sequence[PoolStats]) -> PoolStats:
    """Return the snapshot of several pools as one: ``size_bytes`` is that of the largest."""
    names = [f.name for f in fields(PoolStats)]
    total = {name: sum(getattr(pool, name) for pool in pools) for name in names}
    return PoolStats(**total | {"size_bytes": max((pool.size_bytes for pool in pools), default=0)})


class BufferStore:
    """Builds and frees MonitorBuffers. For the data thread.

    ``post`` is given the highest pulse_id of each folder before anything is written there.
    """

    def __init__(self, config: Config, source: PvaSection, post: Callable[[Taken], object]) -> None:
        self.present: MonitorBuffers | None = None
        self.accounts: Mapping[str, StageAccount] = {}
        """Where the outputs write what they settled."""
        self._config, self._source, self._post = config, source, post
        self._root: Path | None = None
        self._enabled: dict[str, bool] = {}
        self._past: dict[str, Any] = {
            "disk": OutputStats(),
            "zmq": OutputStats(),
            "pebble": PoolStats(),
            "transition": PoolStats(),
        }

    # --- commands

    def set_output(self, output: str, enabled: bool) -> None:  # noqa: FBT001
        """Switch an output, now and whenever it is built again. Raises CommandError for one not configured."""
        if output not in ("disk", "zmq") or (output == "disk" and self._config.disk is None):
            raise CommandError(f"output: found {output!r}, expected one of disk, zmq that the configuration has")
        self._enabled[output] = enabled
        if self.present:
            self.present.outputs.set_enabled(output, enabled)

    def set_folder(self, folder: str) -> "Future[str] | None":
        """Write below another folder from the next frame on, and in all buffers to come.

        Raises CommandError for one outside the roots, as the Future does; that raises HostError for one that cannot be
        written.
        """
        if self._config.disk is None:
            raise CommandError("folder: the configuration has no [disk]")
        if not self.present:
            self._root = confined(folder, self._config.disk_roots(self._source))
            return None
        moved = self.present.outputs.set_folder(folder, self._go_on_above)
        moved.add_done_callback(self._keep_root)
        return moved

    def _keep_root(self, moved: "Future[str]") -> None:
        if not moved.cancelled() and moved.exception() is None:
            self._root = Path(moved.result())

    def _go_on_above(self, module_folder: Path) -> None:
        """Have pulse ids that are made here go on above those in a folder. Raises HostError when there is no room."""
        highest = highest_pulse(module_folder) if self._config.timing is None else None
        if highest is None:
            return
        if highest > _HIGHEST_PULSE:
            raise HostError(
                f"{module_folder}: holds pulse {highest}, no pulse ids are left above it; choose another folder"
            )
        self._post(Taken(highest))

    # --- buffers

    def build(self, plan: BufferPlan, layout: DatagramLayout) -> MonitorBuffers:
        """Make buffers and outputs. Raises PebbleDaqError when memory, folder or address are refused."""
        assert self.present is None
        buffers = MonitorBuffers(
            self._config,
            self._source,
            plan,
            layout,
            root=self._root,
            enabled=self._enabled,
            accounts=self.accounts,
        )
        if buffers.module_folder:
            try:
                self._go_on_above(buffers.module_folder)
            except PebbleDaqError:
                buffers.close(0)
                raise
        self.present = buffers
        return buffers

    def free(self, drain_s: float) -> None:
        """Let the outputs write what is queued, and free all."""
        assert self.present is not None
        if not self.present.close(drain_s):
            log.warning("the outputs took longer than %g s to finish: what was still queued is dropped", drain_s)
        self._past, self.present = self.stats(), None

    def restage(self, layout: DatagramLayout) -> MonitorBuffers:
        """Keep the records there are, and stage larger arrays from now on."""
        assert self.present is not None
        self._past["transition"] = self.stats()["transition"]
        self.present.restage(layout)
        return self.present

    def stats(self) -> dict[str, Any]:
        """Return the snapshots of outputs and pools by their names in MonitorStatus, with the counts of those before."""
        now = self._stats_of(self.present) if self.present else self._expected()
        return {name: add_counts(past, now[name]) for name, past in self._past.items()}

    @staticmethod
    def _stats_of(buffers: MonitorBuffers) -> dict[str, Any]:
        transition = side_by_side([t.stats() for t in buffers.updates])
        return {**buffers.outputs.stats(), "pebble": buffers.pebble.stats(), "transition": transition}

    def _expected(self) -> dict[str, Any]:
        """Return the snapshots while there are no buffers: the outputs as they will be."""
        disk, root, enabled = self._config.disk, self._root or self._config.disk_folder(self._source), self._enabled
        outputs = {
            "disk": OutputStats(),
            "zmq": OutputStats("zmq", enabled=enabled.get("zmq", self._config.zmq.enabled)),
        }
        if disk and root:
            folder = str(root / self._config.detector_of(self._source))
            outputs["disk"] = OutputStats("disk", enabled=enabled.get("disk", disk.enabled), folder=folder)
        return {**outputs, "pebble": PoolStats(), "transition": PoolStats()}
