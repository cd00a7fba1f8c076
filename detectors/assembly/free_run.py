"""Pulse ids for a PV that runs free, without a timing system. Pure."""

from dataclasses import dataclass
from typing import Final, Literal

STEP_BACK_NS: Final = 1_000_000_000
"""A time stamp that is earlier by more than this shows a clock set back, not an update out of order."""

_LAST_PULSE: Final = (1 << 64) - 1


@dataclass
class FreeRunPulses:
    """Gives each update a pulse_id above all before, whatever the source's counter or clock does.

    From the uniqueId, or from the time stamp in pulse periods. When the one they come from restarts, they go on
    from where they were, and above what is on disk already: two frames never share a place there. An update that is not
    newer than the last one gets none: the image that a server sends again after a reconnection, or a second one in the same
    period.
    """

    pulse_from: Literal["unique_id", "timestamp"]
    period_ns: int = 1
    """Pulse period for ``timestamp``, ns."""
    step: int = 1
    """Difference between the pulse ids of consecutive frames, for ``unique_id``."""
    last: int | None = None
    """The pulse_id given last."""
    above: int = -1
    """The highest pulse_id that is taken already: on disk, from an earlier life."""
    rebased: int = 0
    """Times that counter or clock restarted, or began below what is taken."""
    _base: int = 0
    _raw: int = 0
    _timestamp_ns: int = 0

    def pulse_id(self, unique_id: int | None, timestamp_ns: int) -> int | None:
        """Return the pulse_id of an update, or None when it is not newer than the last one.

        ``unique_id`` is unwrapped; None when the source has none: then updates are counted.
        """
        if self.pulse_from == "timestamp":
            raw, factor = timestamp_ns // self.period_ns, 1
            order = self._order_by_time(raw, timestamp_ns)
        else:
            raw, factor = self._raw + 1 if unique_id is None else unique_id, self.step
            order = self._order_by_id(raw, timestamp_ns)
        if order == 0:
            return None
        # Below it: another life, or another folder. Beyond it: absurd time stamps again and again.
        if order > 0 and not self.above < self._base + raw * factor <= _LAST_PULSE:
            self.rebased += 1
            order = -1
        if order < 0:
            self._base = max(self.above, -1 if self.last is None else self.last) + self.step - raw * factor
        self.last = self._base + raw * factor
        self._raw, self._timestamp_ns = raw, timestamp_ns
        return self.last

    def _order_by_time(self, raw: int, timestamp_ns: int) -> int:
        """Return 1 for a newer update, 0 for one that is not, -1 for a clock that was set back."""
        if self.last is None or raw > self._raw:
            return 1
        if self._timestamp_ns - timestamp_ns <= STEP_BACK_NS:
            return 0
        self.rebased += 1
        return -1

    def _order_by_id(self, raw: int, timestamp_ns: int) -> int:
        if self.last is None or raw > self._raw:
            return 1
        if raw == self._raw:
            # Some sources never count: the time stamp distinguishes an image that is sent again from a new one.
            return -1 if timestamp_ns != self._timestamp_ns else 0
        self.rebased += 1
        return -1
