"""Which frames are open, when each of them closes, and how it is counted then. Pure.

Of the stream at hand the frames ``newest - width .. newest`` are open (width: the reorder window). A frame closes when it
is complete and all older ones are closed; when it falls out of the window; when it is the window's last and the newest
is complete; or when the assembler closes all, because the stream fell silent or ends. So frames close in order of
framenum, each once. One of which nothing came is empty, unless it is older than the first one seen.
"""

import numpy as np

from detectors.assembly.closed_frames import REMEMBERED, ClosedFrames
from detectors.assembly.fates import Fates
from detectors.assembly.notes import Notes
from detectors.assembly.open_frame import UNUSED, Finished, OpenFrame
from detectors.assembly.packet_run import PacketRun
from detectors.frame import FrameHead


class Window:
    """The open frames of one module, and those closed lately."""

    def __init__(self, packets: int, row_bytes: int, *, module_id: int, width: int, fates: Fates, notes: Notes) -> None:
        self._packets = packets
        self._fates = fates
        self._notes = notes
        self._ring = [OpenFrame(packets, row_bytes, module_id) for _ in range(width + 1)]
        self.width = width
        self.size = width + 1
        self.newest: int | None = None
        """None before the first frame of a run."""
        self.base = 0
        """Lowest frame not yet closed; newest + 1 when all are."""
        self._first = 0
        """Lowest frame seen: those below it are not missed."""
        self.open = 0
        """Frames begun and not closed."""
        self.closed = ClosedFrames(packets)
        self.finished: list[Finished] = []
        """Frames closed since they were last taken."""
        self.latest = FrameHead(0, 0, 0, 0, module_id)
        """Head of the frame closed last."""

    @property
    def packets(self) -> int:
        """Packets in open frames."""
        return sum(frame.count for frame in self._ring if frame.index != UNUSED)

    def at(self, index: int) -> OpenFrame:
        """Return the place of a frame: it is open if the place has its index."""
        return self._ring[index % self.size]

    def newest_open(self) -> OpenFrame | None:
        """Return the newest frame, if it is open."""
        frame = self._ring[(self.newest or 0) % self.size]
        return frame if frame.index == self.newest else None

    def frame_of(self, run: PacketRun) -> OpenFrame | None:
        """Return the open frame that a run belongs to."""
        frame = self._ring[run.index % self.size]
        return frame if frame.index == run.index and run.agrees(frame.bits, frame.pulse) else None

    def take_finished(self) -> list[Finished]:
        """Return the frames closed since the last call, in order."""
        finished, self.finished = self.finished, []
        return finished

    def start(self, index: int, lowest: int) -> None:
        """Begin a stream at a frame; older ones, not below ``lowest``, may still come within the window."""
        self.newest = self._first = index
        self.base = max(0, index - self.width, lowest)

    def resume(self, index: int) -> None:
        """Go on behind a frame that an earlier life had: packets of it, and of those before it, are late."""
        self.newest, self.base, self._first = index, index + 1, index + 1
        for before in range(max(0, index - self.width), index):
            self.closed.put_empty(before)
        self.closed.put(index, 0, None, np.zeros(self._packets, np.bool_))

    def undecided(self) -> tuple[int, int, int, int]:
        """Return, of the frames not yet closed, how many are begun, their packets, how many have all, and how many none."""
        counts = [frame.count for frame in self._ring if frame.index != UNUSED]
        waiting = 0 if self.newest is None else self.newest + 1 - max(self.base, self._first)
        return len(counts), sum(counts), counts.count(self._packets), max(0, waiting - len(counts))

    def advance(self, index: int) -> None:
        """Make ``index`` the newest frame: close what falls out of the window, count what was skipped."""
        assert self.newest is not None
        bottom = index - self.width
        while self.base < bottom and self.base <= self.newest:
            self._close()
        skipped = bottom - self.base
        if skipped > 0:
            self._count_empty(skipped)
            for passed in range(max(self.base, bottom - REMEMBERED), bottom):
                self.closed.put_empty(passed)
            self.base = bottom
        if index > self.newest + 1:
            self._notes("gap", f"frame {index} follows {self.newest}: {index - self.newest - 1} missing in between")
        self.newest = index
        self.settle()

    def begin(  # noqa: PLR0917  as OpenFrame.begin
        self, index: int, bits: int, pulse: int | None, daq_rec: int, received_ns: int, detector_time: int = 0
    ) -> OpenFrame:
        """Open a frame, which lies in the window and is not open; see ``OpenFrame.begin``."""
        frame = self._ring[index % self.size]
        frame.begin(index, bits, pulse, daq_rec, received_ns, detector_time)
        self.open += 1
        self._first = min(self._first, index)
        return frame

    def settle(self) -> None:
        """Close, in order, what need not wait."""
        assert self.newest is not None
        newest = self._ring[self.newest % self.size]
        newest_complete = newest.index == self.newest and newest.count == self._packets
        while self.base <= self.newest:
            frame = self._ring[self.base % self.size]
            complete = frame.index == self.base and frame.count == self._packets
            if not complete and not (newest_complete and self.newest - self.base >= self.width):
                return
            self._close()

    def close_all(self) -> None:
        """Close every frame up to the newest."""
        while self.newest is not None and self.base <= self.newest:
            self._close()

    def _close(self) -> None:
        """Close the lowest frame that is not closed."""
        index, self.base = self.base, self.base + 1
        frame = self._ring[index % self.size]
        if frame.index == index:
            self._finish(frame)
        elif index >= self._first:
            self._count_empty(1)
            self.closed.put_empty(index)

    def _count_empty(self, number: int) -> None:
        self._fates.empty += number
        self._fates.expected += number * self._packets
        self._fates.lost += number * self._packets

    def _finish(self, frame: OpenFrame) -> None:
        fates, missing = self._fates, self._packets - frame.count
        fates.expected += self._packets
        fates.frames_bad_pulse += frame.flagged
        if missing:
            fates.lost += missing
            fates.incomplete += 1
            self.closed.put(frame.index, frame.bits, frame.pulse, frame.mask)
            frame.zero_missing()
        else:
            fates.complete += 1
            self.closed.put_whole(frame.index, frame.bits, frame.pulse)
        self.latest = head = frame.head()
        if frame.memory is None:
            fates.exhausted += 1
            self._notes("exhausted", f"no slot came free for frame {frame.index}: the frame is dropped")
        else:
            fates.delivered += 1
            self.finished.append((frame.memory, head))
        frame.end()
        self.open -= 1
