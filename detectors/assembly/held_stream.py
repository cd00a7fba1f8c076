"""Packets that do not fit the stream at hand, kept aside until their stream is accepted or dropped. Pure.

One other stream at a time is held, at most two frames of it. ``main_stream.py`` says when it takes over and when it is
dropped; here is how its packets are kept together:

- Packets of the held frames, or of a frame that follows them closely, belong to it and raise its votes.
- Any other packet lowers its votes by one and is alien; the one that brings them to zero takes its place. So a lone wild
  packet is replaced by the next stream at once, and a flood of wild ones does not displace a real stream. The votes
  have a ceiling, so that a stream that ended does not hold its place for long.
- With a third frame the oldest is given up.
"""

from typing import Final

import numpy as np

from detectors.assembly.fates import Fates
from detectors.assembly.open_frame import OpenFrame
from detectors.assembly.packet_run import PacketRun

_MOST_HELD: Final = 2


class HeldFrame(OpenFrame):
    """One frame of the other stream, in memory of its own."""

    def __init__(self, packets: int, row_bytes: int) -> None:
        super().__init__(packets, row_bytes, module_id=0)
        self._rows = np.zeros((packets, row_bytes), np.uint8)
        self._rows.fill(0)  # page-faulted now, not under load
        self.odd = 0
        """Packets whose own pulse_id is unusable while the frame's is not."""

    def until_new(self, run: PacketRun, wanted: int) -> PacketRun:
        """Return the first packets of a run: as many as bring ``wanted`` new ones, at least one, or all."""
        new = np.flatnonzero(~self.mask[run.first : run.first + len(run.pixels)])
        return run.until(int(new[max(wanted, 1) - 1]) + 1) if new.size >= max(wanted, 1) else run


class HeldStream:
    """The other stream. ``frames`` are held in order of their beginning."""

    def __init__(self, packets: int, packet_data_bytes: int, window: int, fates: Fates) -> None:
        self._packets = packets
        self._window = window
        self._fates = fates
        self._spare = [HeldFrame(packets, packet_data_bytes) for _ in range(_MOST_HELD)]
        self._votes = 0
        self._main_packets = 0
        self._votes_ceiling = max(2, packets // 8)
        self._stragglers = packets // 8
        """Packets of the main stream that may still arrive, reordered, after it ended."""
        self.frames: list[HeldFrame] = []
        self.is_rival = False
        """Whether half a frame or more was held before and the main stream went on: there is a second sender."""

    @property
    def count(self) -> int:
        """Packets held."""
        return sum(frame.count for frame in self.frames)

    @property
    def substantial(self) -> bool:
        """Whether half a frame or more is held."""
        return 2 * self.count >= self._packets

    @property
    def convincing(self) -> bool:
        """Whether the stream has shown itself real: half a frame is held and a second frame has begun."""
        return len(self.frames) == _MOST_HELD and self.substantial

    def take(self, run: PacketRun) -> int:
        """Count packets of a run as held, duplicate or alien; return how many: all, or those that made it convincing."""
        total, skip = len(run.pixels), 0
        frame = self._frame_of(run)
        if frame is None:
            if self.frames:
                if total < self._votes:
                    self._votes -= total
                    self._fates.alien += total
                    return total
                skip = self._votes - 1
                self._fates.alien += skip
                self.drop()
            frame = self._begin(run)
            self._main_packets = 0
        run = run.rest(skip)
        if len(self.frames) == _MOST_HELD:
            run = frame.until_new(run, -(-self._packets // 2) - self.count)
        new = frame.place(run.first, run.pixels)
        if run.bits != frame.bits and frame.pulse is not None:
            frame.odd += new
        self._votes = min(self._votes + new, self._votes_ceiling)
        self._fates.held += new
        self._fates.duplicate += len(run.pixels) - new
        return skip + len(run.pixels)

    def main_placed(self, packets: int) -> None:
        """Note packets placed by the main stream: when it goes on, the other stream is given up."""
        if self.frames:
            self._main_packets += packets
            if self._main_packets > self._stragglers:
                self.drop()

    def drop(self) -> None:
        """Give the stream up: its packets become alien."""
        self.is_rival |= self.substantial
        while self.frames:
            self._give_up_oldest()
        self._votes = 0

    def take_out(self, after: int, before: int) -> list[HeldFrame]:
        """Return the frames between two framenums of which half or more is there, no longer held by this stream.

        They stay valid until the next packet is held.
        """
        taken = [f for f in self.frames if after < f.index < before and 2 * f.count >= self._packets]
        self.frames = [f for f in self.frames if f not in taken]
        self._spare += taken
        return taken

    def take_all(self) -> list[HeldFrame]:
        """Return the frames, no longer held. They stay valid until the next packet is held."""
        taken, self.frames = self.frames, []
        self._spare += taken
        self._votes = 0
        self.is_rival = False
        return taken

    def _frame_of(self, run: PacketRun) -> HeldFrame | None:
        for frame in self.frames:
            if run.index == frame.index and run.agrees(frame.bits, frame.pulse):
                return frame
        if self.frames and 0 < run.index - self.frames[-1].index <= self._window + 1:
            if len(self.frames) == _MOST_HELD:
                self._give_up_oldest()
            return self._begin(run)
        return None

    def _begin(self, run: PacketRun) -> HeldFrame:
        frame = self._spare.pop()
        frame.begin(run.index, run.bits, run.pulse, run.daq_rec, run.received_ns, run.detector_time)
        frame.odd = 0
        self.frames.append(frame)
        return frame

    def _give_up_oldest(self) -> None:
        frame = self.frames.pop(0)
        self._spare.append(frame)
        self._fates.held -= frame.count
        self._fates.alien += frame.count
