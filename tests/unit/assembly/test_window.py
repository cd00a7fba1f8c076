"""When a frame closes, without packets: frames are begun and filled by hand."""

import numpy as np

from detectors.assembly.fates import Fates
from detectors.assembly.notes import Notes
from detectors.assembly.open_frame import OpenFrame
from detectors.assembly.window import Window
from tests.unit.assembly.packets import MODULE, GuardedSlot

PACKETS = 4


class Rig:
    def __init__(self, width: int = 1) -> None:
        self.fates = Fates()
        self.window = Window(PACKETS, 8, module_id=MODULE, width=width, fates=self.fates, notes=Notes("test"))
        self.window.start(10, 0)

    def begin(self, index: int, packets: int, *, memory: bool = True) -> OpenFrame:
        """Advance to a frame, and place its first packets."""
        assert self.window.newest is not None
        if index > self.window.newest:
            self.window.advance(index)
        frame = self.window.begin(index, index, index, 0, 0)
        frame.pulse_id = index
        frame.memory = GuardedSlot(PACKETS * 8, index) if memory else None
        self.fill(frame, packets)
        return frame

    def fill(self, frame: OpenFrame, packets: int) -> None:
        frame.place(frame.top, np.ones((packets, 8), np.uint8))
        if frame.complete:
            self.window.settle()

    def closed(self) -> list[int]:
        return [head.frame_index for _, head in self.window.take_finished()]


def test_a_complete_frame_closes_at_once_if_all_older_ones_are_closed():
    rig = Rig()
    rig.begin(10, 4)
    assert rig.closed() == [10]
    assert (rig.window.open, rig.window.base) == (0, 11)
    assert rig.fates.complete == rig.fates.delivered == 1


def test_a_frame_waits_for_older_ones_and_they_close_in_order():
    rig = Rig(width=2)
    old = rig.begin(10, 1)
    rig.begin(11, 4)
    assert rig.closed() == []
    rig.fill(old, 3)
    assert rig.closed() == [10, 11]


def test_the_last_of_the_window_closes_when_the_newest_is_complete():
    rig = Rig(width=1)
    rig.begin(10, 3)
    rig.begin(11, 3)
    assert rig.closed() == []
    rig.fill(rig.window.at(11), 1)
    assert rig.closed() == [10, 11]
    assert (rig.fates.complete, rig.fates.incomplete, rig.fates.lost) == (1, 1, 1)


def test_a_frame_that_falls_out_of_the_window_closes_and_skipped_ones_are_empty():
    rig = Rig(width=1)
    rig.begin(10, 2)
    rig.begin(20, 1)
    ((slot, head),) = rig.window.take_finished()
    assert (head.frame_index, head.n_recv_packets, head.missing[:1]) == (10, 2, bytes([0b1100]))
    assert not slot.data.reshape(PACKETS, 8)[2:].any(), "the pixels of missing packets are zero"
    assert rig.fates.empty == 8, "11 to 18; 19 may still come"
    assert rig.window.base == 19
    rig.window.close_all()
    assert (rig.closed(), rig.fates.empty) == ([20], 9)


def test_frames_below_the_first_one_seen_are_not_missed():
    rig = Rig(width=3)
    assert rig.window.base == 7
    rig.begin(10, 4)
    rig.window.close_all()
    assert (rig.closed(), rig.fates.empty) == ([10], 0)


def test_a_frame_without_memory_is_counted_and_not_handed_on():
    rig = Rig()
    rig.begin(10, 4, memory=False)
    assert rig.closed() == []
    assert (rig.fates.complete, rig.fates.exhausted, rig.fates.delivered) == (1, 1, 0)
    assert rig.window.latest.frame_index == 10


def test_packets_of_open_frames_are_counted():
    rig = Rig()
    rig.begin(10, 3)
    rig.begin(11, 2)
    assert rig.window.packets == 5
    rig.window.close_all()
    assert rig.window.packets == 0
