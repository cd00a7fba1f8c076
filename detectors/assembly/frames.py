"""Packets to frames: every packet has one fate, every frame is closed once and in order. Pure: no socket, no clock.

Blocks of packets are sorted (``sorting.py``) and go to the stream of frames at hand (``main_stream.py``), in one go when all
landed where they were expected, else run by run.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from detectors.assembly.counted_pulses import UNKNOWN_START, NextBase, PulseStart, make_pulses, next_base
from detectors.assembly.fates import COUNTED, Fates
from detectors.assembly.landing import FrameSlots
from detectors.assembly.main_stream import MainStream
from detectors.assembly.notes import Notes
from detectors.assembly.open_frame import Finished
from detectors.assembly.packet_run import PacketRun
from detectors.assembly.rules import AssemblyRules
from detectors.assembly.sorting import PacketSorter
from detectors.frame import FrameHead
from detectors.geometry import ModuleGeometry
from detectors.stats import FrameStats, PacketStats
from detectors.wire.packet_block import Landing, PacketBlock

FORGET_S: Final = 1.0
"""After this silence closed frames are forgotten: what comes now is no duplicate of theirs, s."""

ACCOUNT: Final = (
    *COUNTED,
    "open.frame_packets",
    "open.frames",
    "open.packets",
    "open.whole",
    "open.empty",
    "last.framenum",
    "last.pulse",
)
"""Names of what the counters page has of the assembly: fates, what is open, and the newest frame with its pulse_id."""

_ALL_CLOSED: Final = 0, 0, 0, 0

_QUIET_PERIODS: Final = 3
"""Frame periods of silence after which the stream at hand is taken to have ended."""


class FrameAssembler:
    """Assembles the packets of one module. Used by one thread. The gate is closed at first.

    ``batch``: most packets in one block; ``ahead``: most slots to claim for frames that are to come.
    """

    def __init__(
        self,
        geometry: ModuleGeometry,
        rules: AssemblyRules,
        slots: FrameSlots,
        *,
        batch: int,
        ahead: int = 1,
        start: PulseStart = UNKNOWN_START,
        next_base: NextBase = next_base,
    ) -> None:
        self._flush_timeout_s = rules.flush_timeout_s
        # A frame number that comes again after it is a restart where pulses tell no frame from another.
        self._forget_s = FORGET_S if rules.pulse_from == "bunchid" else rules.flush_timeout_s
        self._fates = Fates()
        self._notes = Notes(f"module {rules.module_id}")
        self._sorter = PacketSorter(geometry, rules, self._fates, self._notes, batch)
        self._stream = MainStream(
            geometry,
            rules,
            slots,
            batch=batch,
            ahead=ahead,
            fates=self._fates,
            notes=self._notes,
            pulses=make_pulses(rules, geometry, start, next_base, self._fates),
        )
        self._packets = geometry.packets_per_frame
        self._window = self._stream.window
        self._router = self._stream.router
        self._pulses = self._stream.pulses
        self._silent = False
        """Whether the stream fell silent: nothing is claimed for frames that may never come."""
        self.in_hand = 0
        """Packets of the present block whose fate is still open, where ``feed`` has yielded."""

    def landing(self) -> Sequence[Landing]:
        """Return the rows that the next packets belong to if nothing goes wrong; ask right before receiving them."""
        newest = self._window.newest
        if newest is None or self._silent or not self._router.gate:
            return ()
        stream = self._stream
        return stream.landing.offer(newest, self._window.newest_open(), stream.begun)

    def feed(self, block: PacketBlock, n: int, now: float) -> Iterator[list[Finished]]:
        """Take the first n packets of a block, and yield the frames that they finish, some at a time. ``now``: monotonic, s.

        To be iterated to the end, all frames dealt with as they come: the next ones of the same block may need their memory.
        """
        stream, window = self._stream, self._window
        stream.now, stream.begun, self._silent = now, 0, False
        if not n:
            return
        self._fates.received += n
        if not self._router.gate and not window.open:
            self._fates.disabled += n
            if self._sorter.is_ours(block, n - 1):
                self._router.saw_passing(block.framenum.item(n - 1))
            return
        runs = self._sorter.as_expected(block, n)
        landed = stream.landing.landed(block, n, runs)
        if runs is None:
            runs = self._sorter.runs(block, n)
        k = 0
        while k < len(runs):
            if k < landed and stream.take_landed(block, runs[k:landed]):
                k = landed
            else:
                stream.take(PacketRun.of_block(block, *runs[k], self._pulses.read), landed=k < landed)
                k += 1
            if window.finished:
                self.in_hand = sum(j - i for i, j in runs[k:]) if k < len(runs) else 0
                yield window.take_finished()
        stream.measure_period()

    def tick(self, now: float) -> Sequence[Finished]:
        """Look at the time; close and return the frames of a stream that fell silent. Cheap; call it often."""
        stream = self._stream
        quiet = now - stream.placed_at
        if quiet <= self._flush_timeout_s or self._window.newest is None:
            return ()
        self._silent = True
        stream.now = now
        stream.close_all()
        if stream.held.substantial and quiet > _QUIET_PERIODS * stream.period:
            if stream.held.is_rival:
                stream.held.drop()
            else:
                stream.promote()
        elif quiet > self._forget_s:
            self._window.closed.forget()
        return self._window.take_finished()

    def open_gate(self) -> list[Finished]:
        """Begin a run: the next whole frame is its first. Return the frames that this closes."""
        self._router.open_gate()
        self._stream.end()
        self._notes.forget()
        return self._window.take_finished()

    def close_gate(self) -> list[Finished]:
        """End a run: only frames already begun are still finished. Return the frames that this closes."""
        self._stream.fill_in()
        self._router.close_gate()
        return self._window.take_finished()

    def flush(self) -> list[Finished]:
        """Close every open frame now and give up what is held; return the frames."""
        self._stream.fill_in()
        self._stream.close_all()
        return self._window.take_finished()

    def resume(self, framenum: int, pulse_id: int, silent_s: float, now: float) -> None:
        """Go on, at the begin of a run, with the stream that an earlier life left at a frame: what was sent since is missing.

        ``silent_s``: how long ago that was.
        """
        self._stream.resume(framenum, pulse_id, now - silent_s)

    def account(self) -> tuple[float, ...]:
        """Return what the counters page has of the assembly, in the order of ``ACCOUNT``; it balances at any time."""
        window = self._window
        return (
            *self._fates.account(self.in_hand),
            self._packets,
            *(window.undecided() if window.open or window.newest != window.base - 1 else _ALL_CLOSED),
            window.newest or 0,
            self._pulses.newest,
        )

    @property
    def latest(self) -> FrameHead:
        """Head of the frame closed last."""
        return self._window.latest

    @property
    def heard_at(self) -> float:
        """When the stream last placed a packet, monotonic, s."""
        return self._stream.placed_at

    @property
    def heard_in_run(self) -> bool:
        """Whether this run has had any packet of the module."""
        return self._window.newest is not None and not self._stream.resumed

    @property
    def period_s(self) -> float:
        """Average time between frames, s; 0 while unknown."""
        return self._stream.period

    @property
    def latest_note(self) -> str:
        """What was last found wrong in this run; empty when nothing was."""
        return self._notes.latest

    def packets(self, kernel_dropped: int = 0) -> PacketStats:
        """Return the fates of packets so far; they balance at any time, but not while ``feed`` is being iterated."""
        return self._fates.packets(self._window.packets, kernel_dropped)

    def frames(self) -> FrameStats:
        """Return the fates of frames so far."""
        return self._fates.frames()
