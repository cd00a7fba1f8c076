"""The snapshot of a PvMonitor."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from detectors.config import PvaSection
from detectors.run_state import RunState
from detectors.sources.image_source import ImageSource
from detectors.stats import DmaStats, MonitorStatus, PvStatus
from detectors.workers.monitor.data_path import DataPath
from detectors.workers.monitor.intake import Intake
from detectors.workers.monitor.machine import MonitorMachine
from detectors.workers.monitor.store import BufferStore
from detectors.workers.monitor.tally import Tally
from detectors.workers.monitor.timing_ring import TimingRing
from detectors.workers.rates import RateMeter

STALLED_NS: Final = 2_000_000_000
"""Silence after which a PV is stalled, ns."""

STALLED_INTERVALS: Final = 5
"""The same in intervals between updates, for a PV slower than that."""


@dataclass(frozen=True, slots=True)
class MonitorStatusTaker:
    """Makes snapshots from the parts of a monitor. For the data thread."""

    source: PvaSection
    sources: Sequence[ImageSource]
    intakes: Sequence[Intake]
    machine: MonitorMachine
    path: DataPath
    store: BufferStore
    tally: Tally
    timing: TimingRing | None
    _rates: RateMeter = field(default_factory=RateMeter)

    def take(self) -> MonitorStatus:
        """Return the present snapshot, but for its head."""
        machine, path, intakes, specs = self.machine, self.path, self.intakes, self.source.pv
        clients = [image_source.name for image_source in self.sources]
        arrays = [i.state.description for i in intakes]
        first = arrays[0]
        updates = self.tally.freeze()
        pvs = [
            PvStatus(
                name=intake.name,
                pv=spec,
                client=client,
                connected=intake.state.up,
                unique_id=intake.unique_id,
                data_ns=intake.data_ns,
                time_diff_ns=difference_ns,
                latency_us=intake.latency_us,
                message=intake.state.message,
            )
            for spec, intake, difference_ns, client in zip(specs, intakes, path.differences_ns, clients, strict=True)
        ]
        return MonitorStatus(
            state=self._state(),
            message=machine.message or next((pv.message for pv in pvs if pv.message), ""),
            run_state=machine.state.label,
            pv=", ".join(specs),
            client=", ".join(dict.fromkeys(clients)),
            connected=all(pv.connected for pv in pvs),
            payload_bytes=sum(array.payload_bytes for array in arrays if array),
            shape=" x ".join(map(str, first.shape or (1,))) if first else "",
            dtype=first.dtype if first else "",
            codec=first.codec if first else "",
            unique_id=pvs[0].unique_id,
            pulse_id=path.pulse_id,
            data_ns=path.data_ns,
            updates=updates,
            time_diff_ns=max(path.differences_ns, key=abs),
            latency_us=max(pv.latency_us for pv in pvs),
            pvs={str(number): pv for number, pv in enumerate(pvs)} if len(pvs) > 1 else {},
            rates=self._rates.add(time.monotonic(), updates.placed, updates.updates, path.placed_bytes),
            dma=self._dma(),
            **self.store.stats(),
        )

    def _state(self) -> str:
        machine, timing, intakes = self.machine, self.timing, self.intakes
        if machine.configuring:
            return "Configuring"
        if machine.fault:
            return machine.fault
        if not all(i.state.up for i in intakes):
            return "Connecting"
        if machine.state is not RunState.ENABLED:
            return "Idle"
        return activity(
            [i.last_update_ns for i in intakes],
            [i.interval_ns for i in intakes],
            self.path.opened_ns,
            timing.last_event_ns if timing else None,
            time.monotonic_ns(),
        )

    def _dma(self) -> DmaStats:
        if self.timing:
            return self.timing.ring.stats()
        dma = self.machine.memory.plan.dma
        return DmaStats(count=dma.count, size_bytes=dma.size_bytes, total_bytes=dma.total_bytes)


def activity(
    heard_ns: Sequence[int], intervals_ns: Sequence[int], opened_ns: int, last_event_ns: int | None, now_ns: int
) -> str:
    """Return what an enabled monitor does: Receiving, Stalled, or Idle when nothing is to be expected.

    ``heard_ns`` is when the last update of each PV came, ``intervals_ns`` the time between its last two. ``last_event_ns``
    is when the last timing event came; None without a timing system. With one, silence is no fault as long as no
    events come.
    """
    oldest_ns = min(heard_ns)
    allowed_ns = max(STALLED_NS, *(STALLED_INTERVALS * interval_ns for interval_ns in intervals_ns))
    if now_ns - max(oldest_ns, opened_ns) <= allowed_ns:
        return "Receiving" if oldest_ns > opened_ns else "Idle"
    expected = last_event_ns is None or now_ns - last_event_ns <= allowed_ns
    return "Stalled" if expected else "Idle"
