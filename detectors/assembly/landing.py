"""Where packets land: received straight into the frames that they are expected to belong to.

Packets in order need not be copied. Offered to the socket are the rows that the next packets belong to: in the newest
frame above its highest packet, and in memory claimed ahead for as many frames after it as the last block began, and one
more. What is received there counts for nothing until every packet of the block is seen to be the one expected; if one
is not, all pixels are copied aside first, and then placed run by run (``OpenFrame.place``). So nothing is ever received
where good pixels lie, and what is left of a wrong guess is overwritten, or zeroed with the other missing packets.
"""

import itertools
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from detectors.assembly.open_frame import OpenFrame
from detectors.assembly.pulses import PulseTracker
from detectors.geometry import ModuleGeometry
from detectors.wire.packet_block import FrameMemory, Landing, PacketBlock


class FrameSlots(Protocol):
    """Where frames get their memory."""

    def claim(self, pulse_id: int, *, wait: bool = True) -> FrameMemory | None:
        """Return memory for a frame; None when there is none. ``wait``: as long as is allowed, for one to come free."""
        ...

    def discard(self, slot: Any) -> None:
        """Take back memory that was claimed for a frame that did not come."""
        ...


class LandingRows:
    """The rows offered, and the memory claimed ahead. ``batch``: most packets in one block; ``ahead``: most slots to claim."""

    def __init__(
        self, geometry: ModuleGeometry, slots: FrameSlots, pulses: PulseTracker, batch: int, ahead: int
    ) -> None:
        self._packets = geometry.packets_per_frame
        self._row_bytes = geometry.packet_data_bytes
        self._slots = slots
        self._pulses = pulses
        self.ahead: deque[Landing] = deque()
        """The memory of the frames after the newest, each claimed for the pulse_id expected of it, which no frame was given."""
        self._most_claimed = max(1, ahead)
        self._most_offered = min(self._most_claimed, -(-batch // self._packets))
        self._reach = 1
        """Frames that the next block may begin."""
        self._index = 0
        """framenum of the first frame in ``ahead`` when it was last offered."""
        self._frame: OpenFrame | None = None
        """Open frame whose rest was last offered."""
        self._frames = 0
        """Frames that rows were last offered in."""

    def offer(self, newest: int, frame: OpenFrame | None, begun: int) -> Sequence[Landing]:
        """Return where the next packets land. ``frame`` is the newest, if open; ``begun``: frames that the last block began."""
        landings: list[Landing] = []
        self._frame, self._index = None, newest + 1
        if frame and frame.top < self._packets:
            if frame.memory is None:
                return ()
            self._frame = frame
            landings.append(Landing(frame.memory, self._row_bytes, frame.top, self._packets - frame.top))
        self._reach = min(max(begun + 1, self._reach - 1), self._most_offered)
        if len(self.ahead) < self._reach and self._pulses.newest:
            self._claim_ahead(newest)
        landings += itertools.islice(self.ahead, self._reach)
        self._frames = len(landings)
        return landings

    def landed(self, block: PacketBlock, n: int, runs: list[tuple[int, int]] | None) -> int:
        """Return how many of a block's runs lie where they belong; the pixels of the others are in the block's rows.

        ``runs``: one a frame, of a block that goes on from its first packet without a fault; else None.
        """
        if not block.landings:
            return 0
        if runs is None or not self._as_expected(block, runs):
            block.gather(n)
            return 0
        block.landings = ()
        return min(self._frames, len(runs))

    def memory(self, pulse_id: int) -> FrameMemory | None:
        """Return the memory of a frame that begins: what was claimed ahead if that is for its pulse, else other."""
        if self.ahead and self.ahead[0].memory.pulse_id == pulse_id:
            return self.ahead.popleft().memory
        self.discard()
        return self._slots.claim(pulse_id)

    def discard(self) -> None:
        """Give back what is claimed ahead."""
        while self.ahead:
            self._slots.discard(self.ahead.popleft().memory)

    def _as_expected(self, block: PacketBlock, runs: list[tuple[int, int]]) -> bool:
        """Whether every packet that landed in a frame is the one that belongs there."""
        index, number, frame = block.framenum.item(0), block.packetnum.item(0), self._frame
        if frame:
            if index != frame.index or number != frame.top or block.pulse_bits.item(0) != frame.bits:
                return False
            runs = runs[1:]
        elif number or index != self._index:
            return False
        # The runs are of frames that follow each other, and so is what is claimed ahead.
        pulse, read = block.pulse, self._pulses.read
        for index, (landing, (i, _)) in enumerate(zip(self.ahead, runs, strict=False), self._index):
            if read(pulse.item(i), index) != landing.memory.pulse_id:
                return False
        return True

    def _claim_ahead(self, newest: int) -> None:
        """Claim the memory of the next frames, twice as many as needed, so that it need be done only every other time."""
        ahead, pulses = self.ahead, self._pulses
        for index in range(newest + 1 + len(ahead), newest + 1 + min(2 * self._reach, self._most_claimed)):
            pulse = pulses.expected(index)
            if pulses.is_given(pulse):
                return  # the frame will get another pulse_id
            memory = self._slots.claim(pulse, wait=False)
            if memory is None:
                return
            ahead.append(Landing(memory, self._row_bytes, 0, self._packets))
