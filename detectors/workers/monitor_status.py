"""The snapshot of a PvMonitor, and the counts of pools and outputs that were made anew during its life."""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from detectors.buffer.detector_json import software_version
from detectors.config import PvaSection
from detectors.outputs.outputs import worker_name
from detectors.run_state import RunState
from detectors.stats import DmaStats, MonitorStatus, OutputStats, PoolStats, PvStatus, UpdateStats
from detectors.workers.intake import Intake
from detectors.workers.receiver_status import RateMeter

STALLED_NS: Final = 2_000_000_000
"""Silence after which a PV is stalled, ns."""

STALLED_INTERVALS: Final = 5
"""The same in intervals between updates, for a PV slower than that."""

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


class MonitorStatusTaker:
    """Makes snapshots from what the monitor hands it. For one thread."""

    def __init__(self, source: PvaSection) -> None:
        self._worker = worker_name(source)
        self._specs = source.pv
        self._rates = RateMeter()
        self._version = software_version()

    def take(
        self,
        *,
        state: str,
        message: str,
        run_state: RunState,
        intakes: Sequence[Intake],
        updates: UpdateStats,
        placed_bytes: int,
        pulse_id: int,
        differences_ns: Sequence[int],
        clients: Sequence[str],
        dma: DmaStats,
        pebble: PoolStats,
        transition: PoolStats,
        disk: OutputStats,
        zmq: OutputStats,
    ) -> MonitorStatus:
        """Return the snapshot."""
        first = intakes[0].description
        known = [i.description for i in intakes if i.description]
        each = zip(self._specs, intakes, differences_ns, clients, strict=True)
        pvs = [_pv_status(*one) for one in each]
        return MonitorStatus(
            worker=self._worker,
            pid=os.getpid(),
            time_ns=time.time_ns(),
            version=self._version,
            state=state,
            message=message,
            run_state=run_state.label,
            pv=", ".join(self._specs),
            client=", ".join(dict.fromkeys(clients)),
            connected=all(i.up for i in intakes),
            payload_bytes=sum(d.payload_bytes for d in known),
            shape=" x ".join(map(str, first.shape or (1,))) if first else "",
            dtype=first.dtype if first else "",
            codec=first.codec if first else "",
            unique_id=intakes[0].unique_id,
            pulse_id=pulse_id,
            updates=updates,
            time_diff_ns=max(differences_ns, key=abs),
            latency_us=max(pv.latency_us for pv in pvs),
            pvs={str(number): pv for number, pv in enumerate(pvs)} if len(pvs) > 1 else {},
            rates=self._rates.add(time.monotonic(), updates.placed, updates.updates, placed_bytes),
            dma=dma,
            pebble=pebble,
            transition=transition,
            disk=disk,
            zmq=zmq,
        )


def _pv_status(spec: str, intake: Intake, difference_ns: int, client: str) -> PvStatus:
    return PvStatus(
        name=intake.name,
        pv=spec,
        client=client,
        connected=intake.up,
        unique_id=intake.unique_id,
        time_diff_ns=difference_ns,
        latency_us=intake.latency_us,
        message=intake.message,
    )


def activity(intakes: Sequence[Intake], enabled_ns: int, last_event_ns: int | None, now_ns: int) -> str:
    """Return what an enabled monitor does: Receiving, Stalled, or Idle when nothing is to be expected.

    ``last_event_ns`` is when the last timing event came; None without a timing system. With one, silence is no fault
    as long as no events come.
    """
    heard_ns = min(i.last_update_ns for i in intakes)
    allowed_ns = max(STALLED_NS, *(STALLED_INTERVALS * i.interval_ns for i in intakes))
    if now_ns - max(heard_ns, enabled_ns) <= allowed_ns:
        return "Receiving" if heard_ns > enabled_ns else "Idle"
    expected = last_event_ns is None or now_ns - last_event_ns <= allowed_ns
    return "Stalled" if expected else "Idle"
