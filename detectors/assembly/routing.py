"""Whose packets are these: the stream's at hand, those of a closed frame, a disabled run's, or another stream's. Pure.

**Who belongs to the stream.** framenum says which frame, and pulse_id must agree with the frame's: two senders on one
port are not mixed into one frame. An unusable pulse_id (NaN, infinite, below 1, too large) contradicts none. A new frame
is taken at once when framenum steps forward by no more than the window can repair and pulse_id does not jump, or by up
to ``max_frame_gap`` with pulse_id having gone on by just as many steps; the frames skipped are empty. The first packet
of a run is taken at once. A packet of a closed frame is a duplicate when it had come before, else late. Everything else
is held (``held_stream.py``).

**The gate.** While it is closed packets are disabled, but for those of frames that were open when it closed: the last
frame of a run is whole. After it opens, the frame that was passing at that moment stays disabled: so is the first.
"""

from enum import Enum, auto

from detectors.assembly.fates import Fates
from detectors.assembly.notes import Notes
from detectors.assembly.packet_run import PacketRun
from detectors.assembly.pulses import PulseTracker
from detectors.assembly.window import Window


class Route(Enum):
    """What becomes of packets that belong to no open frame."""

    BEGINS = auto()
    """They begin a frame of the stream at hand."""
    COUNTED = auto()
    """They are disabled, duplicate or late, and counted so."""
    OTHER = auto()
    """They are of another stream, to be held until that is accepted or dropped."""


class Router:
    """Knows the gate, and which frame was passing when it opened."""

    def __init__(self, window: Window, pulses: PulseTracker, max_frame_gap: int, fates: Fates, notes: Notes) -> None:
        self._window = window
        self._pulses = pulses
        self._max_frame_gap = max_frame_gap
        self._fates = fates
        self._notes = notes
        self.gate = False
        """Whether frames may begin."""
        self._passing: int | None = None
        """Frame that is passing while the gate is closed, and that was when it opened."""

    def open_gate(self) -> None:
        """Let frames begin, but for the one that is passing: an open one, or the last that was seen."""
        if self._window.open:
            self._passing = self._window.newest
        self.gate = True

    def close_gate(self) -> None:
        """Let no frame begin."""
        self.gate = False
        self._passing = None

    def saw_passing(self, index: int) -> None:
        """Note a frame that passes while the gate is closed."""
        self._passing = index

    def forget_passing(self, newest: int | None = None) -> None:
        """Forget the frame that passed once the stream is far beyond it: a restarted detector may use its number again."""
        if newest is None or (self._passing is not None and newest > self._passing + self._window.size):
            self._passing = None

    def lowest(self, index: int) -> int:
        """Return the lowest frame that may still begin in a stream that begins at a frame."""
        if self._passing is not None and self._passing < index <= self._passing + self._window.size:
            return self._passing + 1
        self._passing = None  # another stream than the one that was passing
        return 0

    def route(self, run: PacketRun) -> Route:
        """Say what becomes of a run that belongs to no open frame."""
        window, index, total = self._window, run.index, len(run.pixels)
        if not self.gate:
            duplicate = window.closed.duplicates(run, self._pulses.newest) or 0
            self._fates.duplicate += duplicate
            self._fates.disabled += total - duplicate
            self.saw_passing(index)
            return Route.COUNTED
        if self._passing is not None and self._passing - window.width <= index <= self._passing:
            self._fates.disabled += total
            return Route.COUNTED
        if window.newest is None:
            return Route.BEGINS
        if index > window.newest:
            if self._follows(run, index - window.newest):
                return Route.BEGINS
        elif index >= window.base:
            if window.at(index).index != index and self._is_older(run):
                return Route.BEGINS
        else:
            duplicate = window.closed.duplicates(run, self._pulses.newest)
            if duplicate is not None:
                self._count_after_close(index, duplicate, total - duplicate)
                return Route.COUNTED
        self._notes(
            "other stream",
            f"frame {index} does not follow {window.newest}: held until its stream is accepted or dropped",
        )
        return Route.OTHER

    def _follows(self, run: PacketRun, step: int) -> bool:
        """Whether a run goes on with the stream, ``step`` frames after the newest."""
        near = step <= self._window.size and not self._pulses.jumps(run.index, run.pulse)
        return near or (step <= self._max_frame_gap and self._pulses.continues(run.index, run.pulse))

    def _is_older(self, run: PacketRun) -> bool:
        """Whether the pulse_id of a run can be that of a frame before the newest."""
        newest = self._pulses.newest
        return run.pulse is None or not newest or run.pulse < newest

    def _count_after_close(self, index: int, duplicate: int, late: int) -> None:
        self._fates.duplicate += duplicate
        self._fates.late += late
        if duplicate:
            self._notes("duplicate", f"packet of frame {index} came twice: counted as duplicate")
        if late:
            self._notes("late", f"packet of frame {index} came after the frame was closed: counted as late")
