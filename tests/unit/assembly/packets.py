"""Packets and slots for the tests of assembly."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from detectors.assembly.counted_pulses import UNKNOWN_START, NextBase, PulseStart, next_base
from detectors.assembly.frames import FrameAssembler
from detectors.assembly.open_frame import Finished
from detectors.assembly.rules import AssemblyRules
from detectors.frame import Damage, FrameHead
from detectors.geometry import ModuleGeometry
from detectors.wire.headers import HEADERS
from detectors.wire.packet_block import Landing, PacketBlock

MODULE = 5
GUARD = 64
GUARD_BYTE = 0xA5
STALE = 0x77


def small(packets: int, header: str = "jungfrau", dtype: str = "uint16") -> ModuleGeometry:
    return ModuleGeometry("small", header, packets, 4, dtype, packets)


@dataclass(frozen=True)
class Packet:
    """One datagram, described; ``fill`` is what all its pixels are."""

    frame: int
    number: int
    pulse: float
    module: int = MODULE
    row: int = 0
    column: int = 0
    length: int | None = None
    foreign: bool = False
    fill: int = 0
    daq_rec: int = 0
    timestamp: int = 0

    def but(self, **changes) -> "Packet":
        return replace(self, **changes)

    def datagram(self, geometry: ModuleGeometry) -> bytes:
        header = np.zeros((), HEADERS[geometry.header])
        header["framenum"], header["packetnum"], header["bunchid"] = self.frame, self.number, self.pulse
        header["xCoord"], header["yCoord"], header["timestamp"] = self.row, self.column, self.timestamp
        header["moduleID"], header["debug"] = self.module, self.daq_rec
        whole = header.tobytes() + bytes([self.fill]) * geometry.packet_data_bytes
        length = len(whole) if self.length is None else self.length
        return (whole + bytes(max(0, length - len(whole))))[:length]


def frame_of(index: int, packets: int, pulse: float | None = None, fill: int | None = None) -> list[Packet]:
    pulse = 1000 + index if pulse is None else pulse
    return [Packet(index, n, pulse, fill=(index * 31 + n) % 251 + 1 if fill is None else fill) for n in range(packets)]


def fill_block(
    block: PacketBlock, geometry: ModuleGeometry, packets: list[Packet], landings: tuple[Landing, ...] = ()
) -> int:
    """Put datagrams where recvmmsg would; the bytes behind a short one stay those of an older packet.

    ``landings`` are the rows that the assembler offers.
    """
    block.landings = landings
    block.foreign = np.zeros(block.count, bool)
    for i, packet in enumerate(packets):
        put_datagram(block, i, packet.datagram(geometry))
        block.foreign[i] = packet.foreign
    return len(packets)


def put_datagram(block: PacketBlock, i: int, datagram: bytes) -> None:
    """Put one datagram where recvmmsg would put the i-th."""
    head, pixels = datagram[: block.header_bytes], datagram[block.header_bytes : block.packet_bytes]
    block.headers.view(np.uint8).reshape(block.count, -1)[i, : len(head)] = np.frombuffer(head, np.uint8)
    rows = [row for landing in block.landings for row in landing.rows]
    row = rows[i] if i < len(rows) else block.pixels[i]
    row[: len(pixels)] = np.frombuffer(pixels, np.uint8)
    block.lengths[i] = len(datagram)


@dataclass
class Done:
    """A finished frame, copied."""

    index: int
    pulse_id: int
    count: int
    mask: list[bool]
    rows: list[list[int]]
    flagged: bool
    damage: int
    daq_rec: int
    detector_time: int


class GuardedSlot:
    """Memory of one frame between two guards, full of stale pixels."""

    def __init__(self, nbytes: int, pulse_id: int = 0) -> None:
        self.memory = np.full(nbytes + 2 * GUARD, GUARD_BYTE, np.uint8)
        self.data = self.memory[GUARD:-GUARD]
        self.data.fill(STALE)
        self.address = self.data.ctypes.data
        self.pulse_id = pulse_id

    def check_guards(self) -> None:
        assert (self.memory[:GUARD] == GUARD_BYTE).all()
        assert (self.memory[-GUARD:] == GUARD_BYTE).all()


class Slots:
    """FrameSlots, and what takes the finished frames over: it keeps copies of them."""

    def __init__(self, geometry: ModuleGeometry) -> None:
        self.geometry = geometry
        self.done: list[Done] = []
        self.exhausted = False
        self.on_loan = 0

    def claim(self, pulse_id: int, *, wait: bool = True) -> GuardedSlot | None:
        if self.exhausted:
            return None
        self.on_loan += 1
        return GuardedSlot(self.geometry.frame_bytes, pulse_id)

    def discard(self, slot: GuardedSlot) -> None:
        slot.check_guards()
        self.on_loan -= 1

    def take(self, finished: Iterable[Finished]) -> None:
        for slot, head in finished:
            slot.check_guards()
            assert (head.pulse_id, head.module_id) == (slot.pulse_id, MODULE)
            self.on_loan -= 1
            rows = slot.data.reshape(self.geometry.packets_per_frame, -1)
            self.done.append(
                Done(
                    head.frame_index,
                    head.pulse_id,
                    head.n_recv_packets,
                    mask_of(head),
                    rows.tolist(),
                    bool(head.damage & Damage.BAD_PULSE),
                    int(head.damage),
                    head.daq_rec,
                    head.detector_time,
                )
            )


def mask_of(head: FrameHead) -> list[bool]:
    """Return which packets of a frame came."""
    if not head.missing:
        return [True] * head.expected_packets
    missing = np.unpackbits(np.frombuffer(head.missing, np.uint8), bitorder="little")
    return np.logical_not(missing[: head.expected_packets]).tolist()


class Bench:
    """An assembler with its slots and a block, fed with lists of packets."""

    def __init__(
        self,
        packets: int = 8,
        *,
        header: str = "jungfrau",
        dtype: str = "uint16",
        batch: int = 16,
        land: bool = True,
        ahead: int = 1,
        start: PulseStart = UNKNOWN_START,
        next_base: NextBase = next_base,
        **rules,
    ):
        self.land = land
        self.geometry = small(packets, header, dtype)
        self.slots = Slots(self.geometry)
        made = AssemblyRules(**{"module_id": MODULE, "expect_module_id": MODULE, **rules})
        self.assembler = FrameAssembler(
            self.geometry, made, self.slots, batch=batch, ahead=ahead, start=start, next_base=next_base
        )
        self.block = PacketBlock(self.geometry, batch, pulse_from=made.pulse_from)
        self.now = 10.0
        self.open_gate()

    def feed(self, *groups: list[Packet], batch: int | None = None) -> None:
        packets = [p for group in groups for p in group]
        size = batch or self.block.count
        for i in range(0, len(packets), size):
            landings = self.assembler.landing() if self.land else ()
            n = fill_block(self.block, self.geometry, packets[i : i + size], landings)
            for finished in self.assembler.feed(self.block, n, self.now):
                self.slots.take(finished)
            self.check_balance()

    def pause(self, seconds: float) -> None:
        self.now += seconds
        self.slots.take(self.assembler.tick(self.now))
        self.check_balance()

    def open_gate(self) -> None:
        self.slots.take(self.assembler.open_gate())

    def close_gate(self) -> None:
        self.slots.take(self.assembler.close_gate())

    def flush(self) -> None:
        self.slots.take(self.assembler.flush())

    def frame(self, index: int, pulse: float | None = None) -> list[Packet]:
        return frame_of(index, self.geometry.packets_per_frame, pulse)

    def check_balance(self) -> None:
        p, f = self.packets, self.frames
        fates = p.placed + p.bad_pulse + p.duplicate + p.late + p.alien + p.malformed + p.disabled + p.held
        assert p.received == fates
        assert p.expected == p.placed + p.bad_pulse + p.lost
        assert f.complete + f.incomplete == f.delivered + f.exhausted
        assert min(p.held, p.alien, p.placed, p.lost) >= 0

    @property
    def packets(self):
        return self.assembler.packets()

    @property
    def frames(self):
        return self.assembler.frames()

    @property
    def order(self) -> list[int]:
        return [done.index for done in self.slots.done]
