"""Which pulse_id a frame gets: the one on its packets, checked against those of its neighbours. Pure."""

from typing import Final

PULSE_LIMIT_FLOAT: Final = 2**53
"""Above it a double no longer holds every integer: such a pulse_id names no pulse."""

PULSE_LIMIT_INTEGER: Final = 2**63
"""Above it records and files that count in signed integers would overflow."""


class PulseTracker:
    """Follows pulse_id from frame to frame.

    ``step``: pulses between frames. ``max_jump``: largest step per frame that is not flagged. ``is_float``: whether the
    packets carry it as a double.
    """

    def __init__(self, step: int, max_jump: int, *, is_float: bool) -> None:
        self._step = step
        self._max_jump = max_jump
        self._limit = PULSE_LIMIT_FLOAT if is_float else PULSE_LIMIT_INTEGER
        self._frame: int | None = None
        self.newest = 0
        """The usable pulse_id of the newest frame; 0 when there was none."""

    def forget(self) -> None:
        """Take the next usable pulse_id as it comes: another stream begins."""
        self._frame = None
        self.newest = 0

    def usable(self, value: float) -> int | None:
        """Return a value from the wire as a pulse_id; None for NaN, infinities, fractions, anything below 1 or too large."""
        return int(value) if 1 <= value < self._limit and value == int(value) else None

    def expected(self, frame: int) -> int:
        """Return the pulse_id that ``frame`` has if every frame took one step; within the limits."""
        pulse = self.newest + (frame - (self._frame or 0)) * self._step
        return pulse if 1 <= pulse < self._limit else 1

    def jumps(self, frame: int, pulse: int | None) -> bool:
        """Whether a usable pulse_id is not where it can be: backward, or more than max_jump for each frame in between."""
        if pulse is None or self._frame is None:
            return False
        frames = frame - self._frame
        forward = pulse - self.newest if frames > 0 else self.newest - pulse
        return not 0 < forward <= abs(frames) * self._max_jump

    def assign(self, frame: int, pulse: int | None) -> tuple[int, bool]:
        """Return (pulse_id, whether it is bad) of a frame whose packets say ``pulse``, None when that is unusable.

        An unusable one is replaced by the expected one. One that jumps is kept and becomes what the next one is
        measured by, so that one jump is flagged once.
        """
        if pulse is None:
            return self.expected(frame), True
        bad = self.jumps(frame, pulse)
        if self._frame is None or frame > self._frame:
            self.follow(frame, pulse)
        return pulse, bad

    def follow(self, frame: int, pulse: int) -> None:
        """Take the pulse_id of a frame newer than all others."""
        self._frame, self.newest = frame, pulse
