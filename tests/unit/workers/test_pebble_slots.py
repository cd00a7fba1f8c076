import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectors.assembly.frames import FrameAssembler
from detectors.assembly.rules import AssemblyRules
from detectors.errors import PoolExhaustedError
from detectors.frame import Damage, RecordShape
from detectors.pools.pebble import Pebble, PebbleLease, PebbleLoan
from detectors.pools.pebble_reader import PebbleReader
from detectors.pools.segment import SegmentLayout
from detectors.wire.packet_block import PacketBlock
from detectors.workers.pebble_slots import PebbleSlots
from tests.unit.assembly.packets import MODULE, Packet, fill_block, frame_of, small

GEOMETRY = small(8)


class Takes:
    """Outputs that keep every lease, or want none."""

    def __init__(self) -> None:
        self.leases: list[PebbleLease] = []
        self.wanted = True
        self.offered = 0

    def admit(self) -> list[Any]:
        self.offered += 1
        return [self] if self.wanted else []

    def put(self, lease: PebbleLease, takers: list[Any]) -> None:
        assert takers == [self]
        self.leases.append(lease)


class Rig:
    def __init__(self, wait_s: float = 0.0, segment: Path | None = None) -> None:
        self.outputs = Takes()
        self.leases = self.outputs.leases
        self.told: list[int] = []
        self.pebble = Pebble(segment, RecordShape(GEOMETRY.frame_bytes), count=4, slot_bytes=12288)
        self.slots = slots = PebbleSlots(
            self.pebble,
            wait_s=wait_s,
            outputs=self.outputs,  # type: ignore[arg-type]
            notify=self.told.append,
        )
        self.assembler = FrameAssembler(GEOMETRY, AssemblyRules(MODULE, expect_module_id=MODULE), slots, batch=16)
        self.assembler.open_gate()
        self.block = PacketBlock(GEOMETRY, 16)

    def feed(self, packets: list[Packet], age_s: float = 0.0) -> None:
        """Feed packets that were received ``age_s`` ago."""
        self.block.received_ns = time.time_ns() - int(age_s * 1e9)
        n = fill_block(self.block, GEOMETRY, packets, self.assembler.landing())
        for finished in self.assembler.feed(self.block, n, time.monotonic()):
            self.slots.publish(finished)

    def flush(self) -> None:
        self.slots.publish(self.assembler.flush())


def test_frame_becomes_a_record():
    rig = Rig()
    rig.feed([p.but(daq_rec=3) for p in frame_of(9, 8)])
    (lease,) = rig.leases
    assert lease.head[:5] == (
        1009, 9, 3, 8, MODULE,
    )  # fmt: skip
    assert lease.record[0] == 0xBE
    assert np.frombuffer(lease.data, np.uint8).reshape(8, -1)[:, 0].tolist() == [p.fill for p in frame_of(9, 8)]
    assert (lease.head.damage, lease.head.missing, lease.head.expected_packets) == (Damage.NONE, b"", 8)
    assert lease.head.timestamp_ns > 1_600_000_000 * 10**9
    lease.close()


def test_a_frame_that_no_output_wants_is_there_for_other_processes(tmp_path: Path):
    rig = Rig(segment=tmp_path / "segment")
    rig.outputs.wanted = False
    rig.feed([p.but(daq_rec=3) for p in frame_of(9, 8)])
    assert (rig.outputs.offered, rig.leases, rig.told) == (1, [], [1009])
    reader = PebbleReader(tmp_path / "segment")
    pixels = np.zeros(GEOMETRY.frame_bytes, np.uint8)
    copy = reader.read(1009, pixels)
    assert copy is not None
    assert (copy.frame_index, copy.daq_rec, copy.n_recv_packets, copy.module_id) == (9, 3, 8, MODULE)
    assert pixels.reshape(8, -1)[:, 0].tolist() == [p.fill for p in frame_of(9, 8)]
    stats = rig.pebble.stats()
    assert stats.acquires - stats.returns == stats.in_use  # only slots claimed ahead
    assert stats.out_of_order == 0
    reader.close()
    rig.pebble.close()


def test_missing_packets_travel_with_the_frame():
    rig = Rig()
    rig.feed([p for p in frame_of(9, 8) if p.number not in (0, 5)])
    rig.flush()
    (lease,) = rig.leases
    assert lease.head.missing == bytes([0b00100001]) + bytes(63)
    assert lease.head.damage == Damage.MISSING_DATA
    assert lease.head.n_recv_packets == 6
    lease.close()


def test_leased_slot_exhausts_the_frame_that_needs_it():
    rig = Rig()
    rig.feed(frame_of(1, 8))
    rig.feed(frame_of(2, 8))
    rig.feed(frame_of(5, 8, pulse=1005))  # the slot of 1001, still leased
    frames = rig.assembler.frames()
    assert (frames.exhausted, frames.delivered) == (1, 2)
    rig.leases[0].close()
    rig.feed(frame_of(9, 8, pulse=1009))
    assert rig.assembler.frames().delivered == 3
    for lease in rig.leases[1:]:
        lease.close()
    stats = rig.pebble.stats()
    # One was claimed for frame 3 and given back.
    assert (stats.in_use, stats.acquires, stats.returns, stats.exhausted) == (0, 4, 4, 1)


def test_a_slot_of_our_own_open_frame_is_not_waited_for():
    rig = Rig(wait_s=3600)
    rig.feed(frame_of(1, 8)[:4])
    rig.feed(frame_of(2, 8, pulse=1005)[:4])  # the same slot: a jump within the limit
    rig.flush()
    assert rig.assembler.frames().exhausted == 1
    assert rig.assembler._window.open == 0
    rig.leases[0].close()


class FullPebble:
    """Stands in for a pebble of which no slot comes free; notes how long each claim waited."""

    layout = SegmentLayout(RecordShape(GEOMETRY.frame_bytes), 4, 12288, 1, {})

    def __init__(self, pebble: Pebble) -> None:
        self.pebble = pebble
        self.full = True
        self.waited: list[float] = []

    def claim(self, pulse_id: int, timeout_s: float) -> PebbleLoan:
        if self.full:
            self.waited.append(timeout_s)
            raise PoolExhaustedError("full")
        return self.pebble.claim(pulse_id)

    def claim_ahead(self, pulse_id: int) -> PebbleLoan | None:
        return None if self.full else self.pebble.claim_ahead(pulse_id)


def test_an_exhausted_pebble_is_waited_for_once_and_not_for_each_frame():
    rig = Rig(wait_s=0.05)
    full = FullPebble(rig.pebble)
    rig.slots._pebble = full  # type: ignore[assignment]
    rig.outputs.wanted = False
    for index in range(1, 21):
        rig.feed(frame_of(index, 8))
    assert full.waited == [0.05] + [0.0] * 19
    full.full = False
    rig.feed(frame_of(21, 8))
    assert rig.assembler.frames().delivered == 1
    full.full = True
    rig.assembler._stream.landing.discard()
    for index in range(22, 25):
        rig.feed(frame_of(index, 8))
    assert full.waited[20:] == [0.05, 0.0, 0.0], "a slot had been obtained: one more wait"
    assert (rig.assembler.frames().exhausted, rig.assembler.frames().complete) == (23, 24)


def test_timestamp_is_when_the_frame_began_not_when_its_slot_was_claimed():
    rig = Rig()
    rig.feed(frame_of(1, 8), age_s=20)
    assert rig.assembler.landing(), "the slot of frame 2 is claimed now"
    rig.feed(frame_of(2, 8)[:5], age_s=5)
    rig.feed(frame_of(2, 8)[5:])
    ages = [time.time() - lease.head.timestamp_ns / 1e9 for lease in rig.leases]
    assert ages == pytest.approx([20, 5], abs=0.5)
    for lease in rig.leases:
        lease.close()


def test_slots_claimed_ahead_are_no_misses():
    rig = Rig()
    for index in range(1, 5):
        rig.feed(frame_of(index, 8))
    stats = rig.pebble.stats()
    assert (stats.misses, stats.exhausted) == (1, 1), "the fourth frame's own claim, not those before it"
    for lease in rig.leases:
        lease.close()
