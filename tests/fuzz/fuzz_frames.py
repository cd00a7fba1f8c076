"""Fuzz target: arbitrary datagrams into the assembler. Run by ``make fuzz``; needs atheris.

The input is a script of bytes: it chooses geometry and window, then sends datagrams (mostly well-formed headers
with fields taken from the input, some raw bytes of any length), lets time pass, and opens and closes the gate. After every
step the counters must balance, every finished frame must be what was sent, and no byte outside a slot may have
changed.
"""

import contextlib
import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import atheris

with atheris.instrument_imports(include=["detectors.assembly"]):
    from detectors.assembly.frames import FrameAssembler
    from detectors.assembly.open_frame import Finished
    from detectors.assembly.rules import AssemblyRules

import logging

import numpy as np

from detectors.wire.headers import HEADERS
from detectors.wire.packet_block import PacketBlock
from tests.unit.assembly.packets import MODULE, STALE, Slots, put_datagram, small

logging.disable(logging.CRITICAL)

BATCH = 16


class Checked(Slots):
    """Slots that check every finished frame against what was sent: rows of one value, which is the packet's own."""

    def take(self, finished: Iterable[Finished]) -> None:
        super().take(finished)
        for done in self.done:
            for number, (row, there) in enumerate(zip(done.rows, done.mask, strict=True)):
                expected = pixel(done.index, number) if there else 0
                assert set(row) == {expected}, f"frame {done.index}, packet {number}: {row} is not {expected}"
            assert done.count == sum(done.mask)
        self.done.clear()


def pixel(frame: int, number: int) -> int:
    """Return the value of all pixels of a packet; never that of stale memory."""
    value = (frame * 7 + number * 13) % 251
    return 252 if value == STALE else value


class Session:
    def __init__(self, data: atheris.FuzzedDataProvider) -> None:
        self.data = data
        packets = data.PickValueInList([1, 2, 4, 8, 16])
        header = data.PickValueInList(["jungfrau", "sls", "sls-big-endian"])
        self.geometry = small(packets, header)
        self.layout = HEADERS[header]
        self.slots = Checked(self.geometry)
        rules = AssemblyRules(
            MODULE,
            data.ConsumeIntInRange(0, 4),
            0.1,
            data.PickValueInList([1, 3, 50, 1 << 40]),
            20,
            data.ConsumeIntInRange(1, 3),
            MODULE,
        )
        self.assembler = FrameAssembler(
            self.geometry, rules, self.slots, batch=BATCH, ahead=data.ConsumeIntInRange(1, 5)
        )
        self.block = PacketBlock(self.geometry, BATCH)
        self.land = data.ConsumeBool()
        self.now = 1.0
        self.frame = data.PickValueInList([0, 1, 1000, (1 << 64) - 3])
        self.pulse = 1000
        self.n = 0

    def run(self) -> None:
        if self.data.ConsumeBool():
            self.block.foreign = np.zeros(BATCH, bool)
        self.slots.take(self.assembler.open_gate())
        for _ in range(300):
            if not self.data.remaining_bytes():
                break
            self.step(self.data.ConsumeIntInRange(0, 15))
            self.check()
        self.feed()
        self.slots.take(self.assembler.flush())
        self.check()
        assert self.assembler._window.open == self.slots.on_loan == self.assembler.packets().held == 0

    def step(self, what: int) -> None:
        data = self.data
        if what <= 5:
            for number in range(self.geometry.packets_per_frame):
                self.add(self.frame, number, self.pulse)
            self.frame, self.pulse = self.frame + 1, self.pulse + 1
        elif what <= 8:
            self.add(self.frame + data.ConsumeIntInRange(-4, 4), data.ConsumeIntInRange(0, 17), self.pulse)
        elif what == 9:
            self.add(data.ConsumeUInt(8), data.ConsumeUInt(4), data.ConsumeFloat(), data.ConsumeUInt(1))
        elif what == 10:
            self.raw(data.ConsumeBytes(data.ConsumeIntInRange(0, 100)))
        elif what == 11:
            self.frame, self.pulse = data.ConsumeUInt(8), data.ConsumeUInt(6)
        elif what == 12:
            self.feed()
            self.now += data.ConsumeIntInRange(0, 300) / 100
            self.slots.take(self.assembler.tick(self.now))
        elif what == 13:
            self.slots.exhausted = not self.slots.exhausted
        elif what == 14:
            self.feed()
            self.slots.take((self.assembler.open_gate if data.ConsumeBool() else self.assembler.close_gate)())
        else:
            self.feed()

    def add(self, frame: int, number: int, pulse: float, module: int = MODULE) -> None:
        header = np.zeros((), self.layout)
        frame %= 1 << 64
        header["framenum"], header["packetnum"], header["moduleID"] = frame, number % (1 << 32), module
        with np.errstate(invalid="ignore"), contextlib.suppress(OverflowError, ValueError):
            header["bunchid"] = pulse if self.layout["bunchid"].kind == "f" else int(pulse) % (1 << 64)
        self.raw(header.tobytes() + bytes([pixel(frame, number)]) * self.geometry.packet_data_bytes)

    def raw(self, datagram: bytes) -> None:
        if not self.n:
            self.block.landings = self.assembler.landing() if self.land else ()
        if len(datagram) == self.block.packet_bytes:
            # Raw bytes that happen to be a packet: its pixels must be those that its header stands for.
            header = np.frombuffer(datagram[: self.block.header_bytes], self.layout)[0]
            value = pixel(int(header["framenum"]), int(header["packetnum"]))
            datagram = datagram[: self.block.header_bytes] + bytes([value]) * self.geometry.packet_data_bytes
        put_datagram(self.block, self.n, datagram)
        if self.block.foreign is not None:
            self.block.foreign[self.n] = self.data.ConsumeIntInRange(0, 7) == 0
        self.n += 1
        if self.n == BATCH:
            self.feed()

    def feed(self) -> None:
        self.slots.take(self.assembler.feed(self.block, self.n, self.now))
        self.n = 0

    def check(self) -> None:
        p, f = self.assembler.packets(), self.assembler.frames()
        fates = p.placed + p.bad_pulse + p.duplicate + p.late + p.alien + p.malformed + p.disabled + p.held
        assert p.received == fates, p
        assert p.expected == p.placed + p.bad_pulse + p.lost, p
        assert f.complete + f.incomplete == f.delivered + f.exhausted, f
        assert min(p.held, p.alien, p.placed, p.lost, p.late, p.duplicate) >= 0, p


def one_input(data: bytes) -> None:
    Session(atheris.FuzzedDataProvider(data)).run()


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
