"""What a frame costs, counted and not timed: no allocation that stays, no loop over packets on the good path."""

import gc
import sys
import tracemalloc
from copy import copy

import numpy as np

from detectors.assembly.frames import FrameAssembler
from detectors.assembly.rules import AssemblyRules
from detectors.geometry import ModuleGeometry
from detectors.wire.packet_block import PacketBlock

MODULE = 5


class OneSlot:
    """The memory of every frame."""

    def __init__(self, nbytes: int) -> None:
        self.data = np.zeros(nbytes, np.uint8)
        self.address = self.data.ctypes.data
        self.pulse_id = 0

    def claim(self, pulse_id: int, *, wait: bool = True) -> "OneSlot":
        slot = copy(self)
        slot.pulse_id = pulse_id
        return slot

    def discard(self, slot: "OneSlot") -> None:
        pass


class Stream:
    """Frames in order, in blocks of one frame's packets that begin in the middle of a frame."""

    def __init__(self, packets: int) -> None:
        geometry = ModuleGeometry("g", "jungfrau", packets, 8, "uint16", packets)
        self.assembler = FrameAssembler(
            geometry, AssemblyRules(MODULE, expect_module_id=MODULE), OneSlot(geometry.frame_bytes), batch=packets
        )
        self.block = PacketBlock(geometry, packets)
        self.block.headers["moduleID"][:] = MODULE
        self.block.lengths[:] = self.block.packet_bytes
        self.numbers = np.arange(packets) + packets // 2
        self.block.packetnum[:] = self.numbers % packets
        self.frame = 1
        self.finished = 0
        self.assembler.open_gate()

    def next_block(self) -> None:
        self.block.framenum[:] = self.frame + self.numbers // self.block.count
        self.block.pulse[:] = self.block.framenum
        self.frame += 1

    def feed(self) -> None:
        self.block.landings = self.assembler.landing()
        for finished in self.assembler.feed(self.block, self.block.count, self.frame * 1e-3):
            self.finished += len(finished)
        self.assembler.tick(self.frame * 1e-3)

    def run(self, blocks: int) -> None:
        for _ in range(blocks):
            self.next_block()
            self.feed()


def lines_of_one_block(packets: int) -> int:
    """Count the lines of Python that one block takes, each time that one is executed."""
    stream = Stream(packets)
    stream.run(5)
    stream.next_block()
    lines = 0

    def count(frame, event: str, argument):
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        stream.feed()
    finally:
        sys.settrace(before)
    assert stream.finished == 6
    return lines


def test_no_loop_over_packets_on_the_good_path():
    assert lines_of_one_block(8) == lines_of_one_block(256)


def test_memory_stays_flat():
    stream = Stream(64)
    stream.run(200)
    tracemalloc.start()
    try:
        stream.run(200)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        stream.run(2000)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert stream.finished >= 2200
    assert after - before < 4096


def test_nothing_is_left_for_the_garbage_collector():
    stream = Stream(64)
    stream.run(200)
    gc.collect()
    gc.disable()
    try:
        stream.run(1000)
        assert gc.collect() == 0
    finally:
        gc.enable()
