"""What a monitor writes to its counters page: its counts, and what its sources sent last."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Final

from detectors.counters_page import Block
from detectors.outputs.outputs import ACCOUNTS
from detectors.stats import UpdateStats
from detectors.workers.monitor.intake import Intake
from detectors.workers.monitor.tally import Tally
from detectors.workers.monitor.timing_ring import TimingRing

_COUNTER_MASK: Final = (1 << 64) - 1

_COUNTED = tuple(f"updates.{f.name}" for f in fields(UpdateStats))


class MonitorAccount:
    """For the data thread. Nothing is written before ``go_on``."""

    def __init__(self, tally: Tally, intakes: Sequence[Intake], timing: TimingRing | None) -> None:
        self._tally, self._intakes, self._timing = tally, intakes, timing
        self._block: Block | None = None

    @property
    def blocks(self) -> Mapping[str, Sequence[str]]:
        """The blocks of a monitor, each with the names of its values; a uniqueId or event counter is one too high, 0: none."""
        last = [f"last.{name}_{number}" for number in range(len(self._intakes)) for name in ("next_id", "next_raw_id")]
        return {"data": (*_COUNTED, *last, "last.next_event", "last.pulse_id"), **ACCOUNTS}

    def go_on(self, block: Block, last: Mapping[str, float]) -> int:
        """Go on where the life before ended: what the sources sent since then counts as missed. Return its last pulse_id."""
        self._block = block
        for number, intake in enumerate(self._intakes):
            if following := int(last.get(f"last.next_id_{number}", 0)):
                intake.resume_ids(following - 1, int(last[f"last.next_raw_id_{number}"]) - 1)
        if self._timing and (following := int(last.get("last.next_event", 0))):
            self._timing.counter = following - 1
        return int(last.get("last.pulse_id", 0))

    def enter(self, pulse_id: int) -> None:
        """Bring the page up to date; ``pulse_id`` is that of the event placed last, 0: none."""
        if self._block is None:
            return
        counter = self._timing.counter if self._timing else None
        with self._tally.lock:
            ids = [1 + number for intake in self._intakes for number in intake.last_ids]
            self._block.put(
                *self._tally.values(), *ids, 0 if counter is None else counter + 1 & _COUNTER_MASK, pulse_id
            )
