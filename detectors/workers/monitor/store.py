"""The buffers that a PvMonitor has at present, what commands have set for them, and the counts of those it had before."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from detectors.assembly.datagram import DatagramLayout
from detectors.config import Config, PvaSection
from detectors.errors import CommandError
from detectors.pools.sizing import BufferPlan
from detectors.runtime import Runtime
from detectors.stats import OutputStats, PoolStats
from detectors.workers.monitor.buffers import MonitorBuffers

log = logging.getLogger(__name__)

DRAIN_S: Final = 5.0
"""How long outputs may take to finish before their memory is freed, s, before the log says so."""

_OUTPUTS: Final = ("disk", "zmq")
_OUTPUT_COUNTS: Final = ("offered", "written", "dropped", "disabled", "overwritten", "bytes", "errors")
_POOL_COUNTS: Final = ("acquires", "returns", "collected", "misses", "exhausted", "overruns", "out_of_order", "wait_s")


def add_outputs(past: OutputStats, now: OutputStats) -> OutputStats:
    """Return an output's snapshot with the counts of those before it."""
    return replace(now, **{name: getattr(past, name) + getattr(now, name) for name in _OUTPUT_COUNTS})


def add_pools(past: PoolStats, now: PoolStats) -> PoolStats:
    """Return a pool's snapshot with the counts of those before it."""
    counts = {name: getattr(past, name) + getattr(now, name) for name in _POOL_COUNTS}
    return replace(now, high_water=max(past.high_water, now.high_water), **counts)


def side_by_side(pools: Sequence[PoolStats]) -> PoolStats:
    """Return the snapshot of several pools as one: ``size_bytes`` is that of the largest."""
    total = PoolStats()
    for pool in pools:
        total = replace(
            add_pools(total, pool),
            count=total.count + pool.count,
            size_bytes=max(total.size_bytes, pool.size_bytes),
            total_bytes=total.total_bytes + pool.total_bytes,
            in_use=total.in_use + pool.in_use,
            high_water=total.high_water + pool.high_water,
        )
    return total


class BufferStore:
    """Builds and frees MonitorBuffers. ``present`` changes only with both locks held: the own one and ``lock``.

    The own lock is for commands, which may take their time; ``lock``, the tally's, is the data path's and is held only
    for an instant.
    """

    def __init__(self, config: Config, source: PvaSection, runtime: Runtime, lock: threading.RLock) -> None:
        self.present: MonitorBuffers | None = None
        self._config, self._source, self._runtime = config, source, runtime
        self._lock = lock
        self._commands = threading.RLock()
        self._root: Path | None = None
        self._enabled: dict[str, bool] = {}
        self._past = {name: OutputStats() for name in _OUTPUTS}
        self._past_pebble = self._past_transition = PoolStats()

    # --- commands: any thread

    def set_output(self, output: str, enabled: bool) -> None:  # noqa: FBT001
        """Switch an output, now and whenever it is built again. Raises CommandError for one not configured."""
        with self._commands:
            if output not in _OUTPUTS or (output == "disk" and self._config.disk is None):
                raise CommandError(f"output: found {output!r}, expected one of disk, zmq that the configuration has")
            self._enabled[output] = enabled
            if self.present:
                self.present.outputs.set_enabled(output, enabled)

    def set_folder(self, folder: str) -> None:
        """Write below another folder from the next frame on. Raises CommandError or HostError."""
        with self._commands:
            if self._config.disk is None:
                raise CommandError("folder: the configuration has no [disk]")
            if not Path(folder).is_absolute():
                raise CommandError(f"folder: found {folder!r}, expected an absolute path")
            if self.present:
                self.present.outputs.set_folder(folder)
            self._root = Path(folder)

    # --- event thread

    def build(self, plan: BufferPlan, layout: DatagramLayout) -> MonitorBuffers:
        """Make buffers and outputs. Raises HostError when memory, folder or address are refused."""
        with self._commands:
            assert self.present is None
            buffers = MonitorBuffers(
                self._config, self._source, self._runtime, plan, layout, root=self._root, enabled=self._enabled
            )
            with self._lock:
                self.present = buffers
        return buffers

    def free(self, drain_s: float = DRAIN_S) -> None:
        """Let the outputs finish, and free all."""
        buffers = self.present
        assert buffers is not None
        with self._commands:
            transition = side_by_side([t.stats() for t in buffers.transitions])
            if not buffers.close(drain_s):
                log.warning("the outputs took longer than %g s to finish", drain_s)
            outputs = buffers.outputs.stats()
            with self._lock:
                self._past = {name: add_outputs(self._past[name], outputs[name]) for name in _OUTPUTS}
                self._past_pebble = add_pools(self._past_pebble, buffers.pebble.stats())
                self._past_transition = add_pools(self._past_transition, transition)
                self.present = None

    def restage(self, layout: DatagramLayout) -> MonitorBuffers:
        """Keep the records there are, and stage larger arrays from now on."""
        buffers = self.present
        assert buffers is not None
        with self._commands:
            staged = side_by_side([t.stats() for t in buffers.transitions])
            with self._lock:
                self._past_transition = add_pools(self._past_transition, staged)
                buffers.restage(layout)
        return buffers

    # --- snapshots

    def outputs(self, buffers: MonitorBuffers | None) -> dict[str, OutputStats]:
        """Return the outputs' snapshots, with what ``buffers``, the present ones, count. May wait for a disk."""
        if buffers:
            return buffers.outputs.stats()
        disk, enabled = self._config.disk, self._enabled
        zmq = OutputStats("zmq", enabled=enabled.get("zmq", self._config.zmq.enabled))
        if disk is None:
            return {"disk": OutputStats(), "zmq": zmq}
        folder = (self._root or disk.folder) / self._config.detector_of(self._source)
        return {
            "disk": OutputStats("disk", enabled=enabled.get("disk", disk.enabled), folder=str(folder)),
            "zmq": zmq,
        }

    def with_past(self, outputs: dict[str, OutputStats]) -> dict[str, OutputStats]:
        """Return the outputs' snapshots with the counts of those before them."""
        return {name: add_outputs(self._past[name], outputs[name]) for name in _OUTPUTS}

    def pools(self) -> tuple[PoolStats, PoolStats]:
        """Return the snapshots of the pebble and of the transition pools, with the counts of those before them."""
        pebble = transition = PoolStats()
        if self.present:
            pebble = self.present.pebble.stats()
            transition = side_by_side([t.stats() for t in self.present.transitions])
        return add_pools(self._past_pebble, pebble), add_pools(self._past_transition, transition)
