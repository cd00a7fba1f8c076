"""Where packets land: what is offered, what counts as landed, and what becomes of memory claimed ahead."""

import numpy as np

from detectors.assembly.landing import LandingRows
from detectors.assembly.open_frame import OpenFrame
from detectors.assembly.pulses import PulseTracker
from detectors.wire.packet_block import PacketBlock
from tests.unit.assembly.packets import MODULE, GuardedSlot, Packet, Slots, fill_block, frame_of, small

PACKETS = 4
GEOMETRY = small(PACKETS)


class Rig:
    """The newest frame is 7, of pulse 1007."""

    def __init__(self, ahead: int = 4, batch: int = 16) -> None:
        self.slots = Slots(GEOMETRY)
        self.pulses = PulseTracker(1, 100, is_float=True)
        self.pulses.follow(7, 1007)
        self.rows = LandingRows(GEOMETRY, self.slots, self.pulses, batch, ahead)
        self.block = PacketBlock(GEOMETRY, batch)

    def open_frame(self, packets: int, *, memory: bool = True) -> OpenFrame:
        frame = OpenFrame(PACKETS, 8, MODULE)
        pulse_bits = int(np.float64(1007).view(np.uint64))
        frame.begin(7, pulse_bits, 1007, 0, 0)
        frame.memory = GuardedSlot(GEOMETRY.frame_bytes, 1007) if memory else None
        frame.grow(packets)
        return frame

    def landed(self, packets: list[Packet], runs: list[tuple[int, int]] | None) -> int:
        n = fill_block(self.block, GEOMETRY, packets, self.landings)
        return self.rows.landed(self.block, n, runs)

    def offer(self, frame: OpenFrame | None = None, begun: int = 0) -> list[int]:
        """Return the rows offered in each frame."""
        self.landings = self.rows.offer(7, frame, begun)
        return [landing.count for landing in self.landings]


def test_offered_are_the_rest_of_the_open_frame_and_one_frame_more_than_the_last_block_began():
    rig = Rig()
    assert rig.offer(rig.open_frame(3), begun=0) == [1, 4]
    assert rig.offer(rig.open_frame(1), begun=2) == [3, 4, 4, 4]
    assert rig.offer(None, begun=0) == [4, 4], "it shrinks by one a block"
    assert rig.slots.on_loan == 4


def test_never_more_is_claimed_than_allowed():
    rig = Rig(ahead=2)
    assert rig.offer(None, begun=50) == [4, 4]
    assert rig.slots.on_loan == 2


def test_nothing_is_offered_behind_a_frame_without_memory():
    assert Rig().offer(Rig().open_frame(1, memory=False)) == []


def test_packets_that_are_the_expected_ones_have_landed():
    rig = Rig()
    frame = rig.open_frame(2)
    rig.offer(frame)
    packets = frame_of(7, PACKETS)[2:] + frame_of(8, PACKETS) + frame_of(9, PACKETS)
    assert rig.landed(packets, [(0, 2), (2, 6), (6, 10)]) == 2, "no rows were offered in frame 9"
    assert frame.rows is not None
    assert frame.rows[2:, 0].tolist() == [p.fill for p in packets[:2]]
    assert rig.block.pixels[6:10, 0].tolist() == [p.fill for p in packets[6:]]
    memory = rig.rows.memory(1008)
    assert memory is not None
    assert memory.data.reshape(PACKETS, -1)[:, 0].tolist() == [p.fill for p in packets[2:6]]


def test_packets_that_landed_by_mistake_are_copied_aside():
    for change in ({"frame": 8}, {"pulse": 1009.0}, {"number": 1}):
        rig = Rig()
        rig.offer(rig.open_frame(2))
        packets = [p.but(**change) for p in frame_of(7, PACKETS)[2:]]
        assert rig.landed(packets, [(0, 2)]) == 0
        assert rig.block.pixels[:2, 0].tolist() == [p.fill for p in packets]


def test_a_block_with_a_fault_has_not_landed():
    rig = Rig()
    rig.offer()
    packets = frame_of(8, PACKETS)
    assert rig.landed(packets, None) == 0
    assert rig.block.pixels[:4, 0].tolist() == [p.fill for p in packets]


def test_memory_claimed_for_another_pulse_is_given_back():
    rig = Rig()
    rig.offer(begun=2)
    assert rig.slots.on_loan == 4
    memory = rig.rows.memory(1050)
    assert memory is not None
    assert memory.pulse_id == 1050
    assert rig.slots.on_loan == 1
