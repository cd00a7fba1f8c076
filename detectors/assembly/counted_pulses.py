"""Pulse ids made of what a detector counts, its frames or its clock, where it gets none from a timing system. Pure.

``pulse_id = base + count``. The base stays while the detector counts on; when it restarts, as slsDetectorPackage does
with ``nextframenumber`` or a new measurement, the pulses go on from a new base above all before: no two frames share a
place on disk. All modules of a detector must take the same base, or no image would be whole; so bases are multiples of
BASE_STEP, which modules that lost other frames at the end agree on, and a new one is agreed on by ``NextBase``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from typing_extensions import override

from detectors.assembly.fates import Fates
from detectors.assembly.pulses import PULSE_LIMIT_INTEGER, PulseTracker
from detectors.assembly.rules import AssemblyRules
from detectors.frame import FOLDER_MOD
from detectors.geometry import ModuleGeometry
from detectors.wire.headers import HEADERS

BASE_STEP: Final = FOLDER_MOD
"""Bases are multiples of it: a count that restarts begins a new folder, and pulse_id shows the detector's number."""

TICK_NS: Final = 100
"""The header's time stamp counts a 10 MHz clock from the start of the measurement. Source: slsDetectorPackage."""

NextBase: TypeAlias = Callable[[int, int], int]
"""``(base, above)``: return the base to take after ``base``, above all pulses up to ``above``."""


def next_base(_base: int, above: int) -> int:
    """Return the lowest base above a pulse_id, as one module alone takes it; ``above`` -1: none was given yet."""
    return -(-(above + 1) // BASE_STEP) * BASE_STEP


@dataclass(frozen=True, slots=True)
class PulseStart:
    """What is known of a module's pulse ids before its first frame."""

    base: int = 0
    """The base at hand; 0 when none is known."""
    above: int = -1
    """The highest pulse_id that the module has given; -1: none."""
    above_all: int = -1
    """The highest pulse_id that any module of the detector has given; -1: none."""


UNKNOWN_START: Final = PulseStart()


class CountedPulses(PulseTracker):
    """Pulses from frame numbers. The number decides whose a packet is, and the pulse_id follows: none is bad."""

    def __init__(self, step: int, start: PulseStart, next_base: NextBase, fates: Fates, max_jump: int = 0) -> None:
        super().__init__(step, max_jump)
        self._base = start.base
        self._last, self._above = start.above, max(start.above, start.above_all)
        self._next_base = next_base
        self._fates = fates
        self._begun = False
        """Whether the base is known to hold for the count at hand."""
        self.steady = True

    @override
    def forget(self) -> None:
        super().forget()
        self._begun = False

    @override
    def read(self, value: float, frame: int) -> int | None:
        return self.expected(frame)

    @override
    def expected(self, frame: int) -> int:
        return self._base + frame * self._step

    @override
    def jumps(self, frame: int, pulse: int | None) -> bool:
        return False

    @override
    def continues(self, frame: int, pulse: int | None) -> bool:
        return True

    @override
    def assign(self, frame: int, pulse: int | None, detector_time: int = 0) -> tuple[int, bool]:
        if not self._begun:
            self._begin(frame * self._step)
        given = self._base + frame * self._step
        if self._frame is None or frame > self._frame:
            self.follow(frame, given)
        return given, False

    @override
    def follow(self, frame: int, pulse: int, detector_time: int = 0) -> None:
        super().follow(frame, pulse, detector_time)
        self._last = max(self._last, pulse)

    def _begin(self, count: int) -> None:
        """Choose the base of a stream that begins at a count: the one at hand if that is above all that was given."""
        self._begun = True
        if self._last < self._base + count < PULSE_LIMIT_INTEGER:
            return
        self._fates.restarts += 1
        base = self._next_base(self._base, max(self._last, self._above))
        self._base = base if base + count < PULSE_LIMIT_INTEGER else base - count


class TimedPulses(CountedPulses):
    """Pulses from the time stamps of the header, in periods of ``period_ns``, each measured from the frame before.

    So neither the phase of the stamps nor a period that is not quite exact matters. A frame that comes too soon, or too
    late for ``max_jump``, gets the next pulse_id and is bad.
    """

    def __init__(  # noqa: PLR0917
        self, step: int, start: PulseStart, next_base: NextBase, fates: Fates, max_jump: int, period_ns: int
    ) -> None:
        super().__init__(step, start, next_base, fates, max_jump)
        self._period_ns = period_ns
        self._time = 0
        """Time stamp of the newest frame, ticks."""

    @override
    def read(self, value: float, frame: int) -> int | None:
        return self.newest + self._periods(int(value) - self._time) if self._begun else None

    @override
    def expected(self, frame: int) -> int:
        return self.newest + (frame - (self._frame or 0)) * self._step

    @override
    def assign(self, frame: int, pulse: int | None, detector_time: int = 0) -> tuple[int, bool]:
        frames = 0 if self._frame is None else frame - self._frame
        passed = detector_time - self._time
        if not self._begun or (frames > 0 and passed < 0):
            count = self._periods(detector_time)
            self._begin(count)
            given, bad = self._base + count, False
        else:
            given = self.newest + self._periods(passed)
            # At least one pulse for each frame, so that one between two others has a place.
            bad = not abs(frames) <= abs(given - self.newest) <= abs(frames) * self._max_jump
            if bad:
                given = self.newest + (frames * self._step if frames > 0 else frames)
        if frames > 0 or self._frame is None:
            self.follow(frame, given, detector_time)
        return given, bad

    @override
    def follow(self, frame: int, pulse: int, detector_time: int = 0) -> None:
        super().follow(frame, pulse, detector_time)
        self._time = detector_time

    def _periods(self, ticks: int) -> int:
        """Return ticks in periods, rounded to the nearest."""
        return (2 * ticks * TICK_NS + self._period_ns) // (2 * self._period_ns)


def make_pulses(
    rules: AssemblyRules, geometry: ModuleGeometry, start: PulseStart, next_base: NextBase, fates: Fates
) -> PulseTracker:
    """Return the pulses of a module by its rules."""
    step, jump = rules.pulse_id_step, rules.max_pulse_jump
    if rules.pulse_from == "framenum":
        return CountedPulses(step, start, next_base, fates)
    if rules.pulse_from == "timestamp":
        return TimedPulses(step, start, next_base, fates, jump, rules.pulse_period_ns)
    return PulseTracker(step, jump, is_float=HEADERS[geometry.header]["bunchid"].kind == "f")
