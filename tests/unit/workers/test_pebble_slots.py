import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectors.assembly.frame_slots import AssemblyRules
from detectors.assembly.frames import FrameAssembler
from detectors.frame import Damage, RecordShape
from detectors.pools.pebble import Pebble, PebbleLease, PebbleReader
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
        slots = PebbleSlots(
            self.pebble,
            module_id=MODULE,
            expected_packets=8,
            wait_s=wait_s,
            outputs=self.outputs,  # type: ignore[arg-type]
            notify=self.told.append,
        )
        self.assembler = FrameAssembler(GEOMETRY, AssemblyRules(MODULE), slots, batch=16)
        self.assembler.open_gate()
        self.block = PacketBlock(GEOMETRY, 16)

    def feed(self, packets: list[Packet], now: float = 1.0) -> None:
        landings = self.assembler.landing()
        self.assembler.feed(self.block, fill_block(self.block, GEOMETRY, packets, landings), now)


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
    rig.assembler.flush()
    (lease,) = rig.leases
    assert lease.head.missing == bytes([0b00100001]) + bytes(31)
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
    rig.assembler.flush()
    assert rig.assembler.frames().exhausted == 1
    assert rig.assembler.open_frames == 0
    rig.leases[0].close()


def test_timestamp_is_when_the_frame_began_not_when_its_slot_was_claimed():
    rig = Rig()
    now = time.monotonic()
    rig.feed(frame_of(1, 8), now - 20)
    assert rig.assembler.landing(), "the slot of frame 2 is claimed now"
    rig.feed(frame_of(2, 8)[:5], now - 5)
    rig.feed(frame_of(2, 8)[5:], now)
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
