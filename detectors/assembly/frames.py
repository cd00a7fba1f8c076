"""Packets to frames: every packet has one fate, every frame is closed once and in order. Pure: no socket, no clock.

**Window.** Of the stream at hand the frames ``newest - w .. newest`` are open (w: reorder window). A frame closes when it
is complete and all older ones are closed; when it falls out of the window; when it is the window's last and the newest
is complete; or when nothing came for the flush time. Frames are handed on in order of framenum. A packet of
a closed frame is a duplicate when it had come before, else late.

**Who belongs to the stream.** framenum says which frame, and pulse_id must agree with the frame's: two senders on one
port are not mixed into one frame. An unusable pulse_id (NaN, infinite, below 1, too large) contradicts nobody. A new frame
is taken at once when framenum steps forward by no more than the window can repair and pulse_id does not jump, or by up
to ``max_frame_gap`` with pulse_id having gone on by just as many steps; the frames skipped are empty. The first packet
of a run is taken at once.

**Everything else is held** (``held_stream.py``): a detector that restarted, a stranger, a wild packet. Held packets are kept,
so that nothing is lost while it is undecided:

- The held stream takes over when half a frame of it is there and its next frame begins, while the main stream placed no
  more than the stragglers of a frame (an eighth); or when both fell silent for the flush time and three frame periods
  with half a frame held. Its frames are then placed as if they had just come. Up to ``max_frame_gap`` ahead of the newest, the frames
  in between are counted as empty; otherwise the open frames are closed and it counts as a resync.
- A held frame that is half there or more fills its place when the main stream steps over it: one frame with a wild
  pulse_id is kept and flagged.
- The rest is dropped, its packets alien, when the main stream goes on. So of two senders that alternate the first one
  stays, and a wild framenum moves nothing.

**Landing.** Packets in order need not be copied: ``landing`` offers the rows that the next packets belong to, in the newest
frame above its highest packet and in a slot claimed ahead for the next frame. What is received there counts for nothing
until ``feed`` has seen that every packet of the block is the one expected; if not, all pixels are copied aside first and
then placed one run at a time. So nothing is ever received where good pixels lie, and what is left of a wrong guess is
overwritten, or zeroed with the other holes.

**The gate.** While it is closed packets are disabled, but for those of frames that were open when it closed: the last
frame of a run is whole. After it opens, the frame that was passing at that moment stays disabled: so is the first.
"""

import itertools
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from detectors.assembly.closed_frames import REMEMBERED, ClosedFrames
from detectors.assembly.fates import Fates
from detectors.assembly.frame_slots import AssemblyRules, Frame, FrameSlots
from detectors.assembly.held_stream import HeldFrame, HeldStream, Run
from detectors.assembly.notes import Notes
from detectors.assembly.pulses import PulseRules, PulseTracker
from detectors.assembly.sorting import PacketSorter
from detectors.geometry import ModuleGeometry
from detectors.stats import FrameStats, PacketStats
from detectors.wire.headers import HEADERS
from detectors.wire.packet_block import FrameMemory, Landing, PacketBlock

FORGET_S: Final = 1.0
"""After this silence closed frames are forgotten: what comes now is no duplicate of theirs, s."""

_QUIET_PERIODS: Final = 3
"""Frame periods of silence after which the main stream is taken to have ended."""

_PERIODS_AVERAGED: Final = 8


class _Ahead(Landing):
    """A slot claimed for a frame that has not begun."""

    __slots__ = ("index", "pulse", "slot")

    def __init__(self, index: int, pulse: int, slot: FrameMemory, rows: int, row_bytes: int) -> None:
        # What Landing's constructor does, without the call: once a frame it counts.
        self.address, self.count = slot.address, rows
        self._memory, self._row_bytes, self._first = slot, row_bytes, 0
        self.index, self.pulse = index, pulse
        self.slot: Any = slot


class FrameAssembler:
    """Assembles the packets of one module. Used by one thread."""

    def __init__(
        self, geometry: ModuleGeometry, rules: AssemblyRules, slots: FrameSlots, *, batch: int, ahead: int = 1
    ) -> None:
        """``batch``: most packets in one block; ``ahead``: most slots to claim for frames that are to come.

        The gate is closed at first.
        """
        packets = geometry.packets_per_frame
        self._packets = packets
        self._row_shape = (packets, geometry.packet_data_bytes)
        self._rules = rules
        self._window = rules.reorder_window
        self._slots = slots
        self._pulse_rules = PulseRules(
            rules.pulse_id_step, rules.max_pulse_jump, HEADERS[geometry.header].pulse_is_float
        )
        self._pulses = PulseTracker(self._pulse_rules)
        self.fates = Fates()
        self._notes = Notes(f"module {rules.module_id}")
        self._sorter = PacketSorter(geometry, rules.module_id, self.fates, self._notes, batch)
        self._closed = ClosedFrames(packets)
        self._held = HeldStream(*self._row_shape, self._window, self.fates)
        self._size = self._window + 1
        self._ring = [Frame(packets) for _ in range(self._size)]
        self._row_bytes = geometry.packet_data_bytes
        self._open = 0
        self._ahead: deque[_Ahead] = deque()
        """Slots for newest + 1, newest + 2, ..."""
        self._most_claimed = max(1, ahead)
        self._most_ahead = min(self._most_claimed, -(-batch // packets))
        self._reach = 1
        """Slots that the next block may need: one more than the frames that the last one began."""
        self._begun = 0
        """Frames that the present block began."""
        self._silent = False
        """Whether the stream fell silent: nothing is claimed for frames that may never come."""
        self._offered: Frame | None = None
        """Frame whose rest was offered for landing."""
        self._offered_rows = 0
        """Packets that there was room for, in all landings."""
        self._growing: Frame | None = None
        """The newest frame, if it is the only open one and all its packets landed in order. Its mask and rows are set
        when something else happens to it."""
        self._whole = Frame(packets)
        """What is told of a frame that came whole, in one block."""
        self._whole.count = packets
        self._whole.mask.fill(True)
        self._steady = rules.pulse_id_step <= rules.max_pulse_jump
        """Whether the expected pulse_id is never taken for a jump."""
        self._gate = False
        self._skip: int | None = None
        """Frame that was passing when the gate opened."""
        self._newest: int | None = None
        self._base = 0
        """Lowest frame not yet closed; newest + 1 when all are."""
        self._first = 0
        """Lowest frame seen: those below it are not missed."""
        self._now = 0.0
        self._heard = 0.0
        self._began = 0.0
        self._period = 0.0
        self.last_frame = 0
        self.last_pulse = 0

    # -- what the worker calls -------------------------------------------------------------------------------------

    def feed(self, block: PacketBlock, n: int, now: float) -> None:
        """Take the first n packets of a block. ``now``: monotonic, s."""
        self._now = now
        self._silent = False
        self._begun = 0
        self.fates.received += n
        if not self._gate and not self._open:
            self.fates.disabled += n
            self._remember_passing(block, n)
        elif n:
            runs = self._sorter.as_expected(block, n)
            landed = 0
            if block.landings:
                if runs is not None and self._landed_well(block, runs):
                    landed = self._offered_rows
                    block.landings = ()
                else:
                    block.gather(n)
            runs = runs or self._sorter.runs(block, n)
            k = 0
            while k < len(runs):
                i, j = runs[k]
                if i < landed and (self._growing or self._nothing_open()):
                    k += self._take_in_order(block, runs, k, landed)
                else:
                    self._stop_growing()
                    self._run(block, i, j, in_place=i < landed)
                    k += 1
        if self._begun:
            self._measure_period()

    def landing(self) -> Sequence[Landing]:
        """Return the rows that the next packets belong to if nothing goes wrong; ask right before receiving them."""
        newest = self._newest
        self._offered = None
        self._offered_rows = 0
        if newest is None or not self._gate or self._silent:
            return ()
        landings: list[Landing] = []
        frame: Frame = self._ring[newest % self._size]
        if frame.index == newest and frame.top < self._packets:
            if frame.slot is None:
                return ()
            self._offered = frame
            self._offered_rows = self._packets - frame.top
            landings.append(Landing(frame.slot, self._row_bytes, frame.top, self._offered_rows))
        self._claim_ahead(newest)
        landings += itertools.islice(self._ahead, self._reach)
        self._offered_rows += min(len(self._ahead), self._reach) * self._packets
        return landings

    def tick(self, now: float) -> None:
        """Look at the time: close frames of a stream that fell silent. Cheap; call it often."""
        quiet = now - self._heard
        if quiet <= self._rules.flush_timeout_s or self._newest is None:
            return
        self._now = now
        self._silent = True
        self._close_all()
        if self._held.frames and self._held.substantial and quiet > _QUIET_PERIODS * self._period:
            self._promote()
        elif quiet > FORGET_S:
            self._closed.forget()

    def open_gate(self) -> None:
        """Begin a run: the next whole frame is its first."""
        if self._open:
            self._skip = self._newest
        self.flush()
        self._newest = None
        self._pulses.forget()
        self._closed.forget()
        self._notes.forget()
        self._period = 0.0
        self._gate = True

    def close_gate(self) -> None:
        """End a run: only frames already begun are still finished."""
        self._fill_in()
        self._gate = False
        self._skip = None

    def flush(self) -> None:
        """Close every open frame now and give up what is held."""
        self._fill_in()
        self._close_all()

    @property
    def open_frames(self) -> int:
        """Frames begun and not closed."""
        return self._open

    @property
    def heard_at(self) -> float:
        """When the stream last placed a packet, monotonic, s."""
        return self._heard

    @property
    def heard_in_run(self) -> bool:
        """Whether this run has had any packet of the module."""
        return self._newest is not None

    @property
    def period_s(self) -> float:
        """Average time between frames, s; 0 while unknown."""
        return self._period

    @property
    def latest_note(self) -> str:
        """What was last found wrong in this run; empty when nothing was."""
        return self._notes.latest

    def packets(self, kernel_dropped: int = 0) -> PacketStats:
        """Return the fates of packets so far; they balance at any time."""
        return self.fates.packets(sum(f.count for f in self._ring if f.index >= 0), kernel_dropped)

    def frames(self) -> FrameStats:
        """Return the fates of frames so far."""
        return self.fates.frames()

    def _landed_well(self, block: PacketBlock, runs: list[tuple[int, int]]) -> bool:
        """Whether every packet that landed in a frame is the one that belongs there."""
        frame, index, k = self._offered, block.framenum.item(0), 0
        if frame:
            if index != frame.index or block.packetnum.item(0) != frame.top or block.pulse_bits.item(0) != frame.bits:
                return False
            k = 1
        elif block.packetnum.item(0) or (self._ahead and index != self._ahead[0].index):
            return False
        # The runs are of frames that follow each other, and so are those that slots are claimed for.
        pulse = block.pulse
        for ahead, (i, _) in zip(self._ahead, runs[k:], strict=False):  # noqa: SIM110  a generator is another frame
            if pulse.item(i) != ahead.pulse:
                return False
        return True

    def _nothing_open(self) -> bool:
        """Whether all frames so far are closed, no other stream is held, and the expected pulse_id is never a jump."""
        return self._newest is not None and self._base > self._newest and self._steady and not self._held.frames

    def _take_in_order(self, block: PacketBlock, runs: list[tuple[int, int]], first: int, landed: int) -> int:
        """Take the runs from ``first`` on that landed right, in the growing frame and in new ones; return how many they were.

        Does what ``_run`` does, in short.
        """
        k, end = first, len(runs)
        if self._growing:
            self._grow(*runs[k])
            k += 1
        if end - k > 1:
            k += self._take_whole(block, runs, k, landed)
        if k < end and runs[k][0] < landed:
            self._begin_growing(block, runs[k][0])
            self._grow(*runs[k])
            k += 1
        return k - first

    def _take_whole(self, block: PacketBlock, runs: list[tuple[int, int]], first: int, landed: int) -> int:
        """Take the runs from ``first`` on that are whole frames and landed right; return how many they were."""
        ahead, closed, slots, whole = self._ahead, self._closed, self._slots, self._whole
        pulse_bits, daq_rec, packets = block.pulse_bits, block.daq_rec, self._packets
        whole.began_s = self._now
        number = 0
        for i, j in runs[first:]:
            if j - i < packets or i >= landed:
                break
            claimed = ahead.popleft()
            whole.index, whole.pulse_id, whole.daq_rec = claimed.index, claimed.pulse, daq_rec.item(i)
            closed.put_whole(claimed.index, pulse_bits.item(i), claimed.pulse)
            slots.finish(claimed.slot, whole)
            number += 1
        if number:
            self._follow(whole.index, whole.pulse_id)
            self._base = whole.index + 1
            self.last_frame, self.last_pulse = whole.index, whole.pulse_id
            self._begun += number
            self._heard = self._now
            fates = self.fates
            fates.placed += number * packets
            fates.expected += number * packets
            fates.complete += number
            fates.delivered += number
        return number

    def _follow(self, index: int, pulse: int) -> None:
        """Make a frame the newest that came in its turn, with the pulse_id expected of it."""
        self._newest = index
        if self._skip is not None and index > self._skip + self._size:
            self._skip = None
        self._pulses.follow(index, pulse)

    def _begin_growing(self, block: PacketBlock, i: int) -> None:
        """Open the frame that packet i, which has landed right, begins."""
        claimed = self._ahead.popleft()
        index = self._base = claimed.index
        self._follow(index, claimed.pulse)
        self._growing = frame = self._ring[index % self._size]
        frame.index, frame.bits, frame.daq_rec = index, block.pulse_bits.item(i), block.daq_rec.item(i)
        frame.pulse = frame.pulse_id = claimed.pulse
        frame.began_s, frame.slot, frame.count = self._now, claimed.slot, 0
        frame.bad_pulse = frame.flagged = False
        self._open += 1
        self._begun += 1

    def _grow(self, i: int, j: int) -> None:
        """Count packets i to j - 1, which have landed right in the growing frame."""
        frame = self._growing
        assert frame is not None
        frame.count += j - i
        frame.top = frame.count
        self.fates.placed += j - i
        self._heard = self._now
        if frame.count == self._packets:
            self._growing = None
            self._base = frame.index + 1
            frame.mask.fill(True)
            self._closed.put_whole(frame.index, frame.bits, frame.pulse_id)
            self._count_closed(frame)
            self._hand_on(frame)

    def _stop_growing(self) -> None:
        """Treat the growing frame like any other from here on."""
        frame, self._growing = self._growing, None
        if frame:
            frame.mask[: frame.top] = True
            frame.mask[frame.top :] = False
            frame.rows = frame.slot.data.reshape(self._row_shape)

    def _measure_period(self) -> None:
        """Average the time between frames; those of one block came at the same time for all we know."""
        if self._began:
            weight = min(1.0, self._begun / _PERIODS_AVERAGED)
            self._period += weight * ((self._now - self._began) / self._begun - self._period)
        self._began = self._now

    def _run(self, block: PacketBlock, i: int, j: int, *, in_place: bool = False) -> None:
        """Take packets in a row: one frame, one pulse_id, packet numbers ascending by one."""
        index = block.framenum.item(i)
        bits = block.pulse_bits.item(i)
        frame = self._ring[index % self._size]
        if frame.index != index or frame.bits != bits:
            run = Run(
                index,
                bits,
                self._pulse_rules.usable(block.pulse.item(i)),
                block.packetnum.item(i),
                block.daq_rec.item(i),
                block.pixels[i:j],
            )
            self._take(run, in_place=in_place)
        else:
            self._place(frame, bits, block.packetnum.item(i), block.pixels[i:j], in_place=in_place)

    def _take(self, run: Run, *, in_place: bool = False) -> None:
        """Place a run in the frame that it belongs to, or begins; or give it another fate."""
        frame: Frame | None = self._ring[run.index % self._size]
        if frame.index != run.index or not run.agrees(frame.bits, frame.pulse):
            frame = self._route(run)
        if frame:
            self._place(frame, run.bits, run.first, run.pixels, in_place=in_place)

    def _place(self, frame: Frame, bits: int, first: int, pixels: np.ndarray, *, in_place: bool) -> None:
        """Place packets from number ``first`` on; ``in_place``: their pixels are there already."""
        new = len(pixels)
        last = first + new
        if in_place or first >= frame.top or not frame.mask[first:last].any():
            if frame.rows is not None and not in_place:
                frame.rows[first:last] = pixels
        else:
            new = self._place_fresh(frame, pixels, first, last)
        frame.mask[first:last] = True
        frame.top = max(frame.top, last)
        self._placed(frame, new, odd=new if bits != frame.bits else 0)

    def _place_fresh(self, frame: Frame, pixels: np.ndarray, first: int, last: int) -> int:
        """Place those of packets first to last - 1 that had not come; return how many they were."""
        fresh = ~frame.mask[first:last]
        new = int(np.count_nonzero(fresh))
        if frame.rows is not None and new:
            frame.rows[first:last][fresh] = pixels[fresh]
        duplicate = last - first - new
        self.fates.duplicate += duplicate
        if duplicate:
            self._notes("duplicate", f"packet of frame {frame.index} came twice: counted as duplicate")
        return new

    def _placed(self, frame: Frame, new: int, odd: int) -> None:
        """Count packets placed in a frame, ``odd`` of them with another pulse_id than its own."""
        bad = new if frame.bad_pulse else odd
        self.fates.placed += new - bad
        self.fates.bad_pulse += bad
        if bad:
            frame.flagged = True
        frame.count += new
        self._heard = self._now
        self._held.main_spoke(new)
        if frame.count == self._packets:
            self._settle()

    # -- which frame -----------------------------------------------------------------------------------------------

    def _route(self, run: Run) -> Frame | None:
        """Return the frame that a run begins; None when it has another fate, which is then counted."""
        index, total = run.index, len(run.pixels)
        if not self._gate:
            again = self._closed.duplicates(run, self._pulses.newest) or 0
            self.fates.duplicate += again
            self.fates.disabled += total - again
            self._skip = index
            return None
        if self._skip is not None and self._skip - self._window <= index <= self._skip:
            self.fates.disabled += total
            return None
        if self._newest is None:
            self._start(index)
            return self._begin(run)
        step = index - self._newest
        if step > 0:
            near = step <= self._size and not self._pulses.jumps(index, run.pulse)
            if near or (step <= self._rules.max_frame_gap and run.pulse == self._pulses.expected(index)):
                if self._held.frames and step > 1:
                    self._fill_in(index)
                self._advance(index)
                return self._begin(run)
        elif index >= self._base:
            newest_pulse = self._pulses.newest
            older = run.pulse is None or not newest_pulse or run.pulse < newest_pulse
            if self._ring[index % self._size].index != index and older:
                return self._begin(run)
        else:
            duplicates = self._closed.duplicates(run, self._pulses.newest)
            if duplicates is not None:
                self._count_after_close(index, duplicates, total - duplicates)
                return None
        self._notes("other stream", f"frame {index} does not follow {self._newest}: held until it is clear whose it is")
        taken = self._held.take(run)
        if self._held.convincing:
            self._promote()
            if taken < total:
                self._take(run.rest(taken))
        return None

    def _count_after_close(self, index: int, duplicates: int, late: int) -> None:
        self.fates.duplicate += duplicates
        self.fates.late += late
        if duplicates:
            self._notes("duplicate", f"packet of frame {index} came twice: counted as duplicate")
        if late:
            self._notes("late", f"packet of frame {index} came after the frame was closed: counted as late")

    def _remember_passing(self, block: PacketBlock, n: int) -> None:
        """Note which frame is passing while the gate is closed."""
        if self._sorter.is_ours(block, n - 1):
            self._skip = block.framenum.item(n - 1)

    def _start(self, index: int) -> None:
        """Begin a stream at a frame."""
        self._newest = self._first = index
        self._base = max(0, index - self._window)
        if self._skip is not None and self._skip < index <= self._skip + self._size:
            self._base = max(self._base, self._skip + 1)
        else:
            self._skip = None  # another stream than the one that was passing

    def _advance(self, index: int) -> None:
        """Make ``index`` the newest frame: close what falls out of the window, count what was skipped."""
        assert self._newest is not None
        bottom = index - self._window
        while self._base < bottom and self._base <= self._newest:
            self._close(self._base)
        skipped = bottom - self._base
        if skipped > 0:
            self._count_empty(skipped)
            for passed in range(max(self._base, bottom - REMEMBERED), bottom):
                self._closed.put_empty(passed)
            self._base = bottom
        if index > self._newest + 1:
            self._notes("gap", f"frame {index} follows {self._newest}: {index - self._newest - 1} missing in between")
        self._newest = index
        if self._skip is not None and index > self._skip + self._size:
            self._skip = None  # far behind: a detector that restarts may use these numbers again
        self._settle()

    def _begin(self, run: Run) -> Frame:
        """Open the frame of a run, which lies in the window and is not open."""
        frame = self._ring[run.index % self._size]
        frame.pulse_id, frame.bad_pulse = self._pulses.assign(run.index, run.pulse)
        frame.flagged = frame.bad_pulse
        if frame.bad_pulse:
            said = "unusable" if run.pulse is None else f"{run.pulse}, a jump"
            self._notes(
                "unusable pulse" if run.pulse is None else "pulse jump",
                f"pulse_id of frame {run.index} is {said}: the frame is kept as pulse {frame.pulse_id} and flagged",
            )
        frame.index, frame.bits, frame.pulse = run.index, run.bits, run.pulse
        frame.daq_rec, frame.began_s = run.daq_rec, self._now
        frame.mask[:] = False
        frame.count = frame.top = 0
        ahead = self._ahead
        if ahead and (ahead[0].index, ahead[0].pulse) == (run.index, frame.pulse_id):
            frame.slot = ahead.popleft().slot
        else:
            self._discard_ahead()
            frame.slot = self._slots.claim(frame.pulse_id)
        frame.rows = frame.slot.data.reshape(self._row_shape) if frame.slot is not None else None
        self._open += 1
        self._begun += 1
        self._first = min(self._first, run.index)
        return frame

    def _claim_ahead(self, newest: int) -> None:
        """Claim the slots of the next frames, if the pulse_ids they should have are known."""
        ahead = self._ahead
        if ahead and ahead[0].index != newest + 1:
            self._discard_ahead()
        self._reach = min(max(self._begun + 1, self._reach - 1), self._most_ahead)
        if len(ahead) >= self._reach or not self._pulses.newest:
            return
        # Twice as many as needed, so that it need be done only every other time.
        for index in range(newest + 1 + len(ahead), newest + 1 + min(2 * self._reach, self._most_claimed)):
            pulse = self._pulses.expected(index)
            slot = self._slots.claim(pulse, wait=False)
            if slot is None:
                return
            ahead.append(_Ahead(index, pulse, slot, self._packets, self._row_bytes))

    def _discard_ahead(self) -> None:
        while self._ahead:
            self._slots.discard(self._ahead.popleft().slot)

    # -- closing frames --------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Close, in order, what need not wait."""
        assert self._newest is not None
        newest = self._ring[self._newest % self._size]
        newest_complete = newest.index == self._newest and newest.count == self._packets
        while self._base <= self._newest:
            frame = self._ring[self._base % self._size]
            complete = frame.index == self._base and frame.count == self._packets
            if not complete and not (newest_complete and self._newest - self._base >= self._window):
                return
            self._close(self._base)

    def _close_all(self) -> None:
        self._stop_growing()
        self._discard_ahead()
        while self._newest is not None and self._base <= self._newest:
            self._close(self._base)

    def _close(self, index: int) -> None:
        """Close the lowest frame that is not closed."""
        self._base = index + 1
        frame = self._ring[index % self._size]
        if frame.index == index:
            self._finish(frame)
        elif index >= self._first:
            self._count_empty(1)
            self._closed.put_empty(index)

    def _count_empty(self, number: int) -> None:
        self.fates.empty += number
        self.fates.expected += number * self._packets
        self.fates.lost += number * self._packets

    def _finish(self, frame: Frame) -> None:
        self._closed.put(frame.index, frame.bits, frame.pulse, frame.mask)
        if frame.count < self._packets and frame.rows is not None:
            frame.rows[~frame.mask] = 0
        self._count_closed(frame)
        self._hand_on(frame)

    def _count_closed(self, frame: Frame) -> None:
        fates, missing = self.fates, self._packets - frame.count
        fates.expected += self._packets
        fates.frames_bad_pulse += frame.flagged
        if missing:
            fates.incomplete += 1
            fates.lost += missing
        else:
            fates.complete += 1

    def _hand_on(self, frame: Frame) -> None:
        self.last_frame, self.last_pulse = frame.index, frame.pulse_id
        slot, frame.rows, frame.slot = frame.slot, None, None
        if slot is None:
            self.fates.exhausted += 1
            self._notes("exhausted", f"no slot came free for frame {frame.index}: the frame is dropped")
        else:
            self.fates.delivered += 1
            self._slots.finish(slot, frame)
        frame.index = -1
        self._open -= 1

    # -- another stream takes over ---------------------------------------------------------------------------------

    def _promote(self) -> None:
        """Go on with the held stream: place its packets as if they had just come."""
        assert self._newest is not None
        held = list(self._held.frames)
        self._held.clear()
        first = held[0].head
        if not 0 < first.index - self._newest <= self._rules.max_frame_gap:
            self._notes("resync", f"the stream goes on at frame {first.index} after {self._newest}: resynchronised")
            self._close_all()
            self.fates.resyncs += 1
            self._closed.forget()
            self._pulses.forget()
            self._skip = None
            self._start(first.index)
            self._began = self._period = 0.0
        for frame in held:
            self._adopt(frame)

    def _fill_in(self, before: int | None = None) -> None:
        """Place the held frames that are missing right behind the newest one and before ``before``; drop the others."""
        if not self._held.frames:
            return
        assert self._newest is not None
        bound = self._newest + self._size + 1 if before is None else before
        for frame in self._held.take_out(self._newest, bound):
            self._adopt(frame)
        self._held.drop()

    def _adopt(self, held: HeldFrame) -> None:
        if self._newest is not None and held.head.index > self._newest:
            self._advance(held.head.index)
        frame = self._begin(held.head)
        frame.mask[:] = held.mask
        frame.top = self._packets
        if frame.rows is not None:
            frame.rows[held.mask] = held.rows[held.mask]
        self.fates.held -= held.count
        self._placed(frame, held.count, odd=held.odd)
