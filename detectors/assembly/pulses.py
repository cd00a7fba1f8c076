"""Which pulse_id a frame gets: the one on its packets, checked against those of its neighbours. Pure.

Where packets carry none, it is made of their frame number or time stamp: see ``counted_pulses.py``.
"""

from typing import Final

PULSE_LIMIT_FLOAT: Final = 2**53
"""Above it a double no longer holds every integer: such a pulse_id names no pulse."""

PULSE_LIMIT_INTEGER: Final = 2**63
"""Above it records and files that count in signed integers would overflow."""

_MADE: Final = 256
"""Replacements remembered, so that no later frame is kept under one of them."""


class PulseTracker:
    """Follows pulse_id from frame to frame.

    ``step``: pulses between frames. ``max_jump``: largest step per frame that is not flagged. ``is_float``: whether the
    packets carry it as a double.
    """

    def __init__(self, step: int, max_jump: int, *, is_float: bool = False) -> None:
        self._step = step
        self._max_jump = max_jump
        self._limit = PULSE_LIMIT_FLOAT if is_float else PULSE_LIMIT_INTEGER
        self._frame: int | None = None
        self._made: dict[int, None] = {}
        """Pulse ids given in place of unusable ones, oldest first."""
        self.newest = 0
        """The usable pulse_id of the newest frame; 0 when there was none."""
        self.steady = step <= max_jump
        """Whether the expected pulse_id is never taken for a jump."""

    def forget(self) -> None:
        """Take the next usable pulse_id as it comes: another stream begins."""
        self._frame = None
        self.newest = 0
        self._made.clear()

    def read(self, value: float, frame: int) -> int | None:
        """Return the pulse_id that a value from the wire stands for; None when it stands for none.

        Unusable are NaN, infinities, fractions, negative and too large ones, and 0 but on frame 0: a detector without a
        source of bunch ids sends 0 always.
        """
        if 1 <= value < self._limit and value == int(value):
            return int(value)
        return 0 if value == frame == 0 else None

    def expected(self, frame: int) -> int:
        """Return the pulse_id that ``frame`` has if every frame took one step; within the limits."""
        return max(0, self.newest + (frame - (self._frame or 0)) * self._step) % self._limit

    def jumps(self, frame: int, pulse: int | None) -> bool:
        """Whether a usable pulse_id is not where it can be: backward, or more than max_jump for each frame in between."""
        if pulse is None or self._frame is None:
            return False
        frames = frame - self._frame
        forward = pulse - self.newest if frames > 0 else self.newest - pulse
        return not 0 < forward <= abs(frames) * self._max_jump

    def is_given(self, pulse: int) -> bool:
        """Whether a frame got a pulse_id in place of an unusable one, so that no other frame gets it."""
        return pulse in self._made

    def continues(self, frame: int, pulse: int | None) -> bool:
        """Whether the pulse_id of a frame far ahead went on by as many steps as its number."""
        return pulse == self.expected(frame)

    def assign(self, frame: int, pulse: int | None, detector_time: int = 0) -> tuple[int, bool]:  # noqa: ARG002
        """Return (pulse_id, whether it is bad) of a frame whose packets say ``pulse``, None when that is unusable.

        An unusable one is replaced by the expected one, and so is one that stands still or was given in place of another:
        no frame overwrites another one. One that jumps is kept and becomes what the next one is measured by, so that one
        jump is flagged once. ``detector_time`` is the time stamp on the packets.
        """
        if pulse in self._made or (self._frame not in {None, frame} and pulse == self.newest):
            pulse = None
        if pulse is None:
            return self._replacement(frame), True
        bad = self.jumps(frame, pulse)
        if self._frame is None or frame > self._frame:
            self.follow(frame, pulse)
        return pulse, bad

    def follow(self, frame: int, pulse: int, detector_time: int = 0) -> None:  # noqa: ARG002
        """Take the pulse_id of a frame newer than all others."""
        self._frame, self.newest = frame, pulse

    def _replacement(self, frame: int) -> int:
        pulse = self.expected(frame)
        while pulse in self._made:
            pulse += self._step
        self._made[pulse] = None
        if len(self._made) > _MADE:
            del self._made[next(iter(self._made))]
        return pulse
