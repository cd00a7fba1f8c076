"""Packets to frames: every packet has one fate, every frame is closed once and in order. Pure: no socket, no clock.

The rules are in three files: ``routing.py`` (whose is a packet), ``window.py`` (when does a frame close) and ``landing.py``
(where its pixels go). Here they are joined, and here another stream takes over from the one at hand. Packets of another
stream, of a detector that restarted, a stranger, or wild ones, are held (``held_stream.py``), so that nothing is lost while
it is undecided:

- The held stream takes over when half a frame of it is there and its next frame begins, while the main stream placed no
  more than the stragglers of a frame (an eighth); or when both fell silent for the flush time and three frame periods
  with half a frame held. Its frames are then placed as if they had just come. Up to ``max_frame_gap`` ahead of the newest,
  the frames in between are counted as empty; otherwise the open frames are closed and it counts as a resync.
- A held frame that is half there or more fills its place when the main stream steps over it: one frame with a wild
  pulse_id is kept and flagged.
- The rest is dropped, its packets alien, when the main stream goes on. So of two senders that alternate the first one
  stays, and a wild framenum moves nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from detectors.assembly.fates import Fates
from detectors.assembly.held_stream import HeldFrame, HeldStream
from detectors.assembly.landing import FrameSlots, LandingRows
from detectors.assembly.notes import Notes
from detectors.assembly.open_frame import Finished, OpenFrame
from detectors.assembly.packet_run import PacketRun
from detectors.assembly.pulses import PulseRules, PulseTracker
from detectors.assembly.routing import Route, Router
from detectors.assembly.sorting import PacketSorter
from detectors.assembly.window import Window
from detectors.frame import Damage, FrameHead
from detectors.geometry import ModuleGeometry
from detectors.stats import FrameStats, PacketStats
from detectors.wire.headers import HEADERS
from detectors.wire.packet_block import Landing, PacketBlock

FORGET_S: Final = 1.0
"""After this silence closed frames are forgotten: what comes now is no duplicate of theirs, s."""

_QUIET_PERIODS: Final = 3
"""Frame periods of silence after which the main stream is taken to have ended."""

_PERIODS_AVERAGED: Final = 8


@dataclass(frozen=True, slots=True)
class AssemblyRules:
    """What the configuration says of assembly; see UdpSection."""

    module_id: int
    reorder_window: int = 1
    flush_timeout_s: float = 0.1
    max_frame_gap: int = 100
    max_pulse_jump: int = 100_000
    pulse_id_step: int = 1


class FrameAssembler:
    """Assembles the packets of one module. Used by one thread. The gate is closed at first."""

    def __init__(
        self, geometry: ModuleGeometry, rules: AssemblyRules, slots: FrameSlots, *, batch: int, ahead: int = 1
    ) -> None:
        """``batch``: most packets in one block; ``ahead``: most slots to claim for frames that are to come."""
        packets, row_bytes = geometry.packets_per_frame, geometry.packet_data_bytes
        self._packets = packets
        self._rules = rules
        self._pulse_rules = PulseRules(
            rules.pulse_id_step, rules.max_pulse_jump, HEADERS[geometry.header].pulse_is_float
        )
        self._steady = rules.pulse_id_step <= rules.max_pulse_jump
        """Whether the expected pulse_id is never taken for a jump."""
        self._fates = fates = Fates()
        self._notes = notes = Notes(f"module {rules.module_id}")
        self._pulses = PulseTracker(self._pulse_rules)
        self._sorter = PacketSorter(geometry, rules.module_id, fates, notes, batch)
        self._window = Window(
            packets, row_bytes, module_id=rules.module_id, width=rules.reorder_window, fates=fates, notes=notes
        )
        self._router = Router(self._window, self._pulses, rules.max_frame_gap, fates, notes)
        self._landing = LandingRows(geometry, slots, self._pulses, batch, ahead)
        self._held = HeldStream(packets, row_bytes, rules.reorder_window, fates)
        self._now = 0.0
        self._heard = 0.0
        """When a packet was last placed, monotonic, s."""
        self._silent = False
        """Whether the stream fell silent: nothing is claimed for frames that may never come."""
        self._begun = 0
        """Frames that the present block began."""
        self._began = 0.0
        """When the last one that began any was fed, monotonic, s."""
        self._period = 0.0

    def landing(self) -> Sequence[Landing]:
        """Return the rows that the next packets belong to if nothing goes wrong; ask right before receiving them."""
        newest = self._window.newest
        if newest is None or self._silent or not self._router.gate:
            return ()
        return self._landing.offer(newest, self._window.newest_open(), self._begun)

    def feed(self, block: PacketBlock, n: int, now: float) -> Iterator[Finished]:
        """Take the first n packets of a block, and yield the frames that they finish. ``now``: monotonic, s.

        To be iterated to the end, each frame dealt with as it comes: the next ones of the same block may need its memory.
        """
        self._now, self._silent, self._begun = now, False, 0
        self._fates.received += n
        if not self._router.gate and not self._window.open:
            self._fates.disabled += n
            if self._sorter.is_ours(block, n - 1):
                self._router.saw_passing(block.framenum.item(n - 1))
            return
        if not n:
            return
        runs = self._sorter.as_expected(block, n)
        landed = self._landing.landed(block, n, runs)
        if runs is None:
            runs = self._sorter.runs(block, n)
        k = 0
        while k < len(runs):
            i, j = runs[k]
            taken = self._take_landed(block, [run for run in runs[k:] if run[0] < landed]) if i < landed else 0
            if not taken:
                self._take(self._run(block, i, j), landed=i < landed)
            k += taken or 1
            if self._window.finished:
                yield from self._window.take_finished()
        if self._begun:
            self._measure_period()

    def tick(self, now: float) -> Sequence[Finished]:
        """Look at the time; close and return the frames of a stream that fell silent. Cheap; call it often."""
        quiet = now - self._heard
        if quiet <= self._rules.flush_timeout_s or self._window.newest is None:
            return ()
        self._now = now
        self._silent = True
        self._close_all()
        if self._held.frames and self._held.substantial and quiet > _QUIET_PERIODS * self._period:
            self._promote()
        elif quiet > FORGET_S:
            self._window.closed.forget()
        return self._window.take_finished()

    def open_gate(self) -> list[Finished]:
        """Begin a run: the next whole frame is its first. Return the frames that this closes."""
        self._router.open_gate()
        finished = self.flush()
        self._window.newest = None
        self._window.closed.forget()
        self._pulses.forget()
        self._notes.forget()
        self._period = 0.0
        return finished

    def close_gate(self) -> list[Finished]:
        """End a run: only frames already begun are still finished. Return the frames that this closes."""
        self._fill_in()
        self._router.close_gate()
        return self._window.take_finished()

    def flush(self) -> list[Finished]:
        """Close every open frame now and give up what is held; return the frames."""
        self._fill_in()
        self._close_all()
        return self._window.take_finished()

    # -- what is known of the stream -------------------------------------------------------------------------------

    @property
    def open_frames(self) -> int:
        """Frames begun and not closed."""
        return self._window.open

    @property
    def latest(self) -> FrameHead:
        """Head of the frame closed last."""
        return self._window.latest

    @property
    def heard_at(self) -> float:
        """When the stream last placed a packet, monotonic, s."""
        return self._heard

    @property
    def heard_in_run(self) -> bool:
        """Whether this run has had any packet of the module."""
        return self._window.newest is not None

    @property
    def period_s(self) -> float:
        """Average time between frames, s; 0 while unknown."""
        return self._period

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

    # -- packets that landed where they belong ---------------------------------------------------------------------

    def _take_landed(self, block: PacketBlock, runs: list[tuple[int, int]]) -> int:
        """Take runs that landed where they belong, one frame each; return how many of them: all or none.

        The fast path: does what ``_take`` does, in one go for all frames of a block. The first run may go on with the
        newest frame, the last may leave one open; those in between are whole. None are taken when they might have another
        fate, because other frames are open, one is out of order, or another stream is held.
        """
        window, packets, index = self._window, self._packets, self._window.newest
        if index is None or self._held.frames or not self._steady or not self._router.gate:
            return 0
        frame = window.newest_open()
        if window.base < index or (frame and (frame.count != frame.top or frame.flagged)):
            return 0
        ahead, pulse_bits, daq_rec, received_ns = (
            self._landing.ahead,
            block.pulse_bits,
            block.daq_rec,
            block.received_ns,
        )
        module_id, pulse_id, begun, whole = self._rules.module_id, 0, 0, 0
        for i, j in runs:
            if frame:
                frame.count = frame.top = frame.top + j - i
                if frame.count == packets:
                    window.settle()
                    frame = None
                continue
            memory = ahead.popleft().memory
            pulse_id, bits = memory.pulse_id, pulse_bits.item(i)
            index += 1
            begun += 1
            if j - i == packets:
                whole += 1
                window.latest = head = FrameHead(
                    pulse_id, index, daq_rec.item(i), packets, module_id, received_ns, Damage.NONE, packets
                )
                window.finished.append((memory, head))
                window.closed.put_whole(index, bits, pulse_id)
            else:
                frame = window.begin(index, bits, pulse_id, memory)
                frame.pulse_id, frame.daq_rec, frame.received_ns = pulse_id, daq_rec.item(i), received_ns
                frame.count = frame.top = j - i
        fates = self._fates
        fates.placed += runs[-1][1] - runs[0][0]
        if begun:
            self._begun += begun
            window.newest = index
            window.base = index if frame else index + 1
            self._pulses.follow(index, pulse_id)
            self._router.forget_passing(index)
        if whole:
            fates.expected += whole * packets
            fates.complete += whole
            fates.delivered += whole
        self._heard = self._now
        return len(runs)

    # -- any packets -----------------------------------------------------------------------------------------------

    def _run(self, block: PacketBlock, i: int, j: int) -> PacketRun:
        """Return packets i to j - 1 of a block as a run."""
        return PacketRun(
            block.framenum.item(i),
            block.pulse_bits.item(i),
            self._pulse_rules.usable(block.pulse.item(i)),
            block.packetnum.item(i),
            block.daq_rec.item(i),
            block.received_ns,
            block.pixels[i:j],
        )

    def _take(self, run: PacketRun, *, landed: bool = False) -> None:
        """Place a run in the frame that it belongs to, or begins; or give it another fate."""
        frame = self._window.frame_of(run) or self._begin_or_hold(run)
        if frame is None:
            return
        total = new = len(run.pixels)
        if landed:
            frame.grow(total)
        else:
            new = frame.place(run.first, run.pixels)
        if new < total:
            self._fates.duplicate += total - new
            self._notes("duplicate", f"packet of frame {frame.index} came twice: counted as duplicate")
        self._count_placed(frame, new, odd=new if run.bits != frame.bits else 0)

    def _count_placed(self, frame: OpenFrame, new: int, odd: int) -> None:
        """Count packets placed in a frame, ``odd`` of them with another pulse_id than its own."""
        bad = new if frame.bad_pulse else odd
        self._fates.placed += new - bad
        self._fates.bad_pulse += bad
        if bad:
            frame.flagged = True
        self._heard = self._now
        self._held.main_spoke(new)
        if frame.complete:
            self._window.settle()

    def _begin_or_hold(self, run: PacketRun) -> OpenFrame | None:
        """Return the frame that a run begins; None when it has another fate, which is then counted."""
        route = self._router.route(run)
        if route is Route.BEGINS:
            newest = self._window.newest
            if newest is None:
                self._start(run.index)
            elif run.index > newest:
                if run.index > newest + 1:
                    self._fill_in(run.index)
                self._advance(run.index)
            return self._begin(run)
        if route is Route.OTHER:
            taken = self._held.take(run)
            if self._held.convincing:
                self._promote()
                if taken < len(run.pixels):
                    self._take(run.rest(taken))
        return None

    def _begin(self, run: PacketRun) -> OpenFrame:
        """Open the frame of a run, which lies in the window and is not open."""
        pulse_id, bad = self._pulses.assign(run.index, run.pulse)
        if bad:
            said = "unusable" if run.pulse is None else f"{run.pulse}, a jump"
            self._notes(
                "unusable pulse" if run.pulse is None else "pulse jump",
                f"pulse_id of frame {run.index} is {said}: the frame is kept as pulse {pulse_id} and flagged",
            )
        frame = self._window.begin(run.index, run.bits, run.pulse, self._landing.memory(pulse_id))
        frame.pulse_id, frame.daq_rec, frame.received_ns = pulse_id, run.daq_rec, run.received_ns
        frame.bad_pulse = frame.flagged = bad
        self._begun += 1
        return frame

    def _start(self, index: int) -> None:
        self._window.start(index, self._router.lowest(index))

    def _advance(self, index: int) -> None:
        self._window.advance(index)
        self._router.forget_passing(index)

    def _close_all(self) -> None:
        self._landing.discard()
        self._window.close_all()

    def _measure_period(self) -> None:
        """Average the time between frames; those of one block came at the same time for all we know."""
        if self._began:
            weight = min(1.0, self._begun / _PERIODS_AVERAGED)
            self._period += weight * ((self._now - self._began) / self._begun - self._period)
        self._began = self._now

    # -- another stream takes over ---------------------------------------------------------------------------------

    def _promote(self) -> None:
        """Go on with the held stream: place its packets as if they had just come."""
        newest = self._window.newest
        assert newest is not None
        held = self._held.take_all()
        first = held[0].head.index
        if not 0 < first - newest <= self._rules.max_frame_gap:
            self._notes("resync", f"the stream goes on at frame {first} after {newest}: resynchronised")
            self._close_all()
            self._fates.resyncs += 1
            self._window.closed.forget()
            self._pulses.forget()
            self._router.forget_passing()
            self._start(first)
            self._began = self._period = 0.0
        for frame in held:
            self._adopt(frame)

    def _fill_in(self, before: int | None = None) -> None:
        """Place the held frames that are missing right behind the newest one and before ``before``; drop the others."""
        newest = self._window.newest
        if not self._held.frames or newest is None:
            return
        for frame in self._held.take_out(newest, newest + self._window.size + 1 if before is None else before):
            self._adopt(frame)
        self._held.drop()

    def _adopt(self, held: HeldFrame) -> None:
        """Place the packets of a held frame in one of the stream at hand."""
        if self._window.newest is not None and held.head.index > self._window.newest:
            self._advance(held.head.index)
        frame = self._begin(held.head)
        frame.adopt(held.rows, held.mask, held.count)
        self._fates.held -= held.count
        self._count_placed(frame, held.count, odd=held.odd)
