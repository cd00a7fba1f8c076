"""The stream of frames at hand: its packets placed, and another stream put in its place. Pure.

It joins the three sets of rules: ``routing.py`` (whose is a packet), ``window.py`` (when does a frame close) and
``landing.py`` (where do its pixels go). Packets of another stream, of a detector that restarted, of a second sender, or wild
ones, are held (``held_stream.py``), so that none is lost while it is undecided:

- The held stream takes over when half a frame of it is there and its next frame begins, while the main stream placed no
  more than the stragglers of a frame (an eighth); or when both fell silent for the flush time and three frame periods
  with half a frame held. Its frames are then placed as if they had just come. Up to ``max_frame_gap`` ahead of the newest,
  or further when pulse_id went on by just as many steps, the frames in between are counted as empty; otherwise the open
  frames are closed and it counts as a resync, and as an outage when frames may have been lost.
- A held frame that is half there or more fills its place when the main stream steps over it: one frame with a wild
  pulse_id is kept and flagged.
- Neither silence nor a gap gives way to a second sender: once half a frame was dropped, what is held is another's, and
  takes over only as the first rule says.
- The rest is dropped, its packets alien, when the main stream goes on. So of two senders that alternate the first one
  stays, and a wild framenum moves nothing.
"""

from typing import Final

from detectors.assembly.bad_pulse import bad_pulse_note
from detectors.assembly.fates import Fates
from detectors.assembly.held_stream import HeldFrame, HeldStream
from detectors.assembly.landing import FrameSlots, LandingRows
from detectors.assembly.notes import Notes
from detectors.assembly.open_frame import OpenFrame
from detectors.assembly.packet_run import PacketRun
from detectors.assembly.pulses import PulseTracker
from detectors.assembly.routing import Route, Router
from detectors.assembly.rules import AssemblyRules
from detectors.assembly.window import Window
from detectors.frame import Damage, FrameHead
from detectors.geometry import ModuleGeometry
from detectors.wire.packet_block import PacketBlock

_PERIODS_AVERAGED: Final = 8

_FASTEST_HZ: Final = 50_000
"""More frames a second than any detector sends."""

_LONGEST_GAP: Final = 1 << 32
"""Most frames that can be counted as missing in one gap: those of 11 days at 4.5 kHz."""


class MainStream:
    """One module's stream of frames, its window, router, landing rows and held stream."""

    def __init__(
        self,
        geometry: ModuleGeometry,
        rules: AssemblyRules,
        slots: FrameSlots,
        *,
        batch: int,
        ahead: int,
        fates: Fates,
        notes: Notes,
        pulses: PulseTracker,
    ) -> None:
        packets, row_bytes, width = geometry.packets_per_frame, geometry.packet_data_bytes, rules.reorder_window
        self._packets = packets
        self._rules = rules
        self._fates = fates
        self._notes = notes
        self.pulses = pulses
        self.window = Window(packets, row_bytes, module_id=rules.module_id, width=width, fates=fates, notes=notes)
        self.router = Router(self.window, self.pulses, rules.max_frame_gap, fates, notes)
        self.held = HeldStream(packets, row_bytes, width, fates)
        self.landing = LandingRows(geometry, slots, self.pulses, batch, ahead)
        self.now = 0.0
        """When the present block was received, monotonic, s; set by the caller."""
        self.placed_at = 0.0
        """When a packet was last placed, monotonic, s."""
        self.begun = 0
        """Frames that the present block began; set to 0 by the caller."""
        self._began = 0.0
        """When the last block that began any was received, monotonic, s."""
        self.period = 0.0
        """Average time between frames, s; 0 while unknown."""
        self.resumed = False
        """Whether the stream is one that an earlier life left, and nothing of it has come yet."""

    def resume(self, framenum: int, pulse_id: int, placed_at: float) -> None:
        """Go on with the stream whose newest frame had a number and a pulse_id, and came at ``placed_at``."""
        self.window.resume(framenum)
        if pulse_id:
            self.pulses.follow(framenum, pulse_id)
        self.placed_at, self.resumed = placed_at, True

    def end(self) -> None:
        """End the run: close all frames, give up what is held, and forget what was."""
        self.fill_in()
        self.close_all()
        self.window.newest = None
        self.window.closed.forget()
        self.held.is_rival = False
        self.pulses.forget()
        self.period, self.resumed = 0.0, False

    def close_all(self) -> None:
        """Close every open frame."""
        self.landing.discard()
        self.window.close_all()

    def measure_period(self) -> None:
        """Average the time between frames; those of one block share one time."""
        if self.begun and self._began:
            weight = min(1.0, self.begun / _PERIODS_AVERAGED)
            self.period += weight * ((self.now - self._began) / self.begun - self.period)
        if self.begun:
            self._began = self.now

    def take_landed(self, block: PacketBlock, runs: list[tuple[int, int]]) -> bool:
        """Take runs that landed where they belong, one frame each; return whether they were taken: all or none.

        The fast path: does what ``take`` does, in one go for all frames of a block. The first run may go on with the
        newest frame, the last may leave one open; those in between are whole. None are taken when they might have another
        fate, because other frames are open, one is out of order, or another stream is held.
        """
        window, packets, index = self.window, self._packets, self.window.newest
        if index is None or self.held.frames or not self.pulses.steady or not self.router.gate:
            return False
        frame = window.newest_open()
        if window.base < index or (frame and (frame.count != frame.top or frame.flagged)):
            return False
        ahead, module_id, arrival_ns = self.landing.ahead, self._rules.module_id, block.arrival_ns
        pulse_bits, daq_rec, timestamp = block.pulse_bits, block.daq_rec, block.timestamp
        begun = whole = pulse_id = detector_time = 0
        for i, j in runs:
            if frame:
                frame.count = frame.top = frame.top + j - i
                if frame.count == packets:
                    window.settle()
                    frame = None
                continue
            memory = ahead.popleft().memory
            pulse_id, bits, detector_time = memory.pulse_id, pulse_bits.item(i), timestamp.item(i)
            index += 1
            begun += 1
            if j - i == packets:
                whole += 1
                window.latest = head = FrameHead(
                    pulse_id,
                    index,
                    daq_rec.item(i),
                    packets,
                    module_id,
                    arrival_ns(i),
                    detector_time,
                    Damage.NONE,
                    packets,
                )
                window.finished.append((memory, head))
                window.closed.put_whole(index, bits, pulse_id)
            else:
                frame = window.begin(index, bits, pulse_id, daq_rec.item(i), arrival_ns(i), detector_time)
                frame.pulse_id, frame.memory = pulse_id, memory
                frame.count = frame.top = j - i
        fates = self._fates
        fates.placed += runs[-1][1] - runs[0][0]
        if begun:
            self.begun += begun
            self.resumed = False
            window.newest = index
            window.base = index if frame else index + 1
            self.pulses.follow(index, pulse_id, detector_time)
            self.router.forget_passing(index)
        if whole:
            fates.expected += whole * packets
            fates.complete += whole
            fates.delivered += whole
        self.placed_at = self.now
        return True

    def take(self, run: PacketRun, *, landed: bool = False) -> None:
        """Place a run in the frame that it belongs to, or begins; or give it another fate."""
        frame = self.window.frame_of(run) or self._begin_or_hold(run)
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
        self.placed_at, self.resumed = self.now, False
        self.held.main_placed(new)
        if frame.complete:
            self.window.settle()

    def _begin_or_hold(self, run: PacketRun) -> OpenFrame | None:
        """Return the frame that a run begins; None when it has another fate, which is then counted."""
        route = self.router.route(run)
        if route is Route.BEGINS:
            newest = self.window.newest
            if newest is None:
                self.window.start(run.index, self.router.lowest(run.index))
            elif run.index > newest:
                if run.index > newest + 1:
                    self.fill_in(run.index)
                self._advance(run.index)
            return self._begin(run)
        if route is Route.OTHER:
            taken = self.held.take(run)
            if self.held.convincing:
                self.promote()
                if taken < len(run.pixels):
                    self.take(run.rest(taken))
        return None

    def _begin(self, run: PacketRun | HeldFrame) -> OpenFrame:
        """Open the frame of a run or a held one, which lies in the window and is not open."""
        pulse_id, bad = self.pulses.assign(run.index, run.pulse, run.detector_time)
        if bad:
            self._notes(*bad_pulse_note(run, pulse_id, self._rules.pulse_from))
        frame = self.window.begin(run.index, run.bits, run.pulse, run.daq_rec, run.received_ns, run.detector_time)
        if run.index != self.window.newest:
            self.landing.discard()  # an older frame may have been given the pulse_id of the next one
        frame.pulse_id, frame.memory = pulse_id, self.landing.memory(pulse_id)
        frame.bad_pulse = frame.flagged = bad
        self.begun += 1
        return frame

    def _advance(self, index: int) -> None:
        self.window.advance(index)
        self.router.forget_passing(index)

    # -- another stream takes over ---------------------------------------------------------------------------------

    def promote(self) -> None:
        """Go on with the held stream: place its packets as if they had just come."""
        newest = self.window.newest
        assert newest is not None
        held = self.held.take_all()
        first = held[0].index
        near = not self.resumed and 0 < first - newest <= self._rules.max_frame_gap
        if not (near or self._goes_on(held[0])):
            self.close_all()
            if self._rules.pulse_from == "bunchid" or first > newest:
                self._notes("resync", f"the stream goes on at frame {first} after {newest}: resynchronised")
                self._fates.resyncs += 1
            else:  # no fault where pulses are made of the count; they count it
                self._notes("restart", f"the detector restarted its count, at frame {first} after {newest}")
            if first > newest or self.resumed:
                self._fates.outages += 1
                self._fates.outage_s += max(0.0, self.now - self.placed_at)
            self.window.closed.forget()
            self.pulses.forget()
            self.router.forget_passing()
            self.window.start(first, self.router.lowest(first))
            self._began = self.period = 0.0
        for frame in held:
            self._adopt(frame)

    def _goes_on(self, held: HeldFrame) -> bool:
        """Whether frame number and pulse_id of a held frame agree that it is of the same stream as the newest."""
        step, latest_ns = held.index - (self.window.newest or 0), self.window.latest.timestamp_ns
        # How long after the frame closed last it arrived; by the receiver's own clock after a restart.
        since_s = (held.received_ns - latest_ns) / 1e9 if latest_ns else self.now - self.placed_at
        if self._rules.pulse_from != "bunchid" and step > _FASTEST_HZ * since_s:
            return False  # the number is all there is, and no detector counted so far meanwhile
        return 0 < step <= _LONGEST_GAP and held.pulse is not None and self.pulses.continues(held.index, held.pulse)

    def fill_in(self, before: int | None = None) -> None:
        """Place the held frames that are missing right behind the newest one and before ``before``; drop the others."""
        newest = self.window.newest
        if not self.held.frames or newest is None:
            return
        if not self.held.is_rival:
            for frame in self.held.take_out(newest, newest + self.window.size + 1 if before is None else before):
                self._adopt(frame)
        self.held.drop()

    def _adopt(self, held: HeldFrame) -> None:
        """Place the packets of a held frame in one of the stream at hand."""
        if self.window.newest is not None and held.index > self.window.newest:
            self._advance(held.index)
        frame = self._begin(held)
        frame.adopt(held)
        self._fates.held -= held.count
        self._count_placed(frame, held.count, odd=held.odd)
