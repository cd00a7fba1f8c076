"""Which pulse_id a frame gets: the one on its packets, checked against those of its neighbours. Pure."""

from dataclasses import dataclass
from typing import Final

PULSE_LIMIT_FLOAT: Final = 2**53
"""Above it a double no longer holds every integer: such a pulse_id names no pulse."""

PULSE_LIMIT_INTEGER: Final = 2**63
"""Above it records and files that count in signed integers would overflow."""


@dataclass(frozen=True, slots=True)
class PulseRules:
    """``step``: pulses between frames. ``max_jump``: largest step per frame that is not flagged."""

    step: int = 1
    max_jump: int = 100_000
    is_float: bool = True

    @property
    def limit(self) -> int:
        """First pulse_id that is too large."""
        return PULSE_LIMIT_FLOAT if self.is_float else PULSE_LIMIT_INTEGER

    def usable(self, value: float) -> int | None:
        """Return a value from the wire as a pulse_id; None for NaN, infinities, anything below 1 or too large."""
        return int(value) if 1 <= value < self.limit else None


class PulseTracker:
    """Follows pulse_id from frame to frame."""

    def __init__(self, rules: PulseRules) -> None:
        self._rules = rules
        self._frame: int | None = None
        self._pulse = 0

    @property
    def newest(self) -> int:
        """The usable pulse_id of the newest frame; 0 when there was none."""
        return self._pulse

    def forget(self) -> None:
        """Take the next usable pulse_id as it comes: another stream begins."""
        self._frame = None
        self._pulse = 0

    def expected(self, frame: int) -> int:
        """Return the pulse_id that ``frame`` has if every frame took one step; within the limits."""
        if self._frame is None:
            pulse = frame * self._rules.step
        else:
            pulse = self._pulse + (frame - self._frame) * self._rules.step
        return pulse if 1 <= pulse < self._rules.limit else 1

    def jumps(self, frame: int, pulse: int | None) -> bool:
        """Whether a usable pulse_id is not where it can be: backward, or more than max_jump for each frame in between."""
        if pulse is None or self._frame is None:
            return False
        frames = frame - self._frame
        forward = pulse - self._pulse if frames > 0 else self._pulse - pulse
        return not 0 < forward <= abs(frames) * self._rules.max_jump

    def assign(self, frame: int, pulse: int | None) -> tuple[int, bool]:
        """Return (pulse_id, whether it is bad) of a frame whose packets say ``pulse``, None when that is unusable.

        An unusable one is replaced by the expected one. One that jumps is kept and becomes what the next one is
        measured by, so that one jump is flagged once.
        """
        if pulse is None:
            return self.expected(frame), True
        bad = self.jumps(frame, pulse)
        if self._frame is None or frame > self._frame:
            self._frame, self._pulse = frame, pulse
        return pulse, bad

    def follow(self, frame: int, pulse: int) -> None:
        """Take the expected pulse_id of a frame newer than all others."""
        self._frame, self._pulse = frame, pulse
