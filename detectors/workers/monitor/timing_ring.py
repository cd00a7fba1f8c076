"""The timing stream's way from the DMA ring to the state machine."""

import logging
import time
from typing import Final

from detectors.errors import WireError
from detectors.pools.dma import DmaRing
from detectors.run_state import Service
from detectors.wire.timing import UnknownServiceError, parse_timing
from detectors.workers.monitor.messages import Timed
from detectors.workers.monitor.tally import Tally

log = logging.getLogger(__name__)

_COUNTER_MASK: Final = (1 << 64) - 1
_LARGEST_GAP: Final = 1 << 32
"""A larger step of the event counter is a timing system that restarted."""


class TimingRing:
    """Reads events, and counts those that were lost and datagrams that are no timing header. For the data thread."""

    def __init__(self, ring: DmaRing, tally: Tally) -> None:
        self.ring = ring
        self.last_event_ns = 0
        """When the last L1Accept was read, by the monotonic clock. May be read by any thread."""
        self._tally = tally
        self.counter: int | None = None
        """Event counter of the last event; None before the first."""

    def read(self, room: int) -> list[Timed]:
        """Return the oldest events that are in the ring, ``room`` at most."""
        events: list[Timed] = []
        while len(events) < room and (buffer := self.ring.read()) is not None:
            with buffer:
                try:
                    event = parse_timing(buffer.data)
                except WireError as error:
                    if isinstance(error, UnknownServiceError):
                        self._count_gap(error.event_counter)
                    if not self._tally["timing_errors"]:
                        log.warning("%s; further ones are only counted", error)
                    self._tally.add(timing_errors=1)
                    continue
            events.append(Timed(event, time.monotonic_ns()))
            self._count_gap(event.event_counter)
            if event.service is Service.L1_ACCEPT:
                self.last_event_ns = events[-1].arrived_ns
        return events

    def _count_gap(self, counter: int) -> None:
        if self.counter is not None:
            ahead = (counter - self.counter) & _COUNTER_MASK
            if 1 < ahead < _LARGEST_GAP:
                self._tally.add(l1_missed=ahead - 1)
        self.counter = counter
