"""Arbitrary packet sequences, in blocks of any size, against the model: bytes, counters and masks must all be equal."""

import math

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from detectors.assembly.frames import AssemblyRules, FrameAssembler
from detectors.wire.packet_block import PacketBlock
from tests.unit.assembly.frame_model import Model
from tests.unit.assembly.packets import MODULE, Packet, Slots, fill_block, small

BATCH = 12
AHEAD = 5
PULSES = st.sampled_from(
    [math.nan, math.inf, -math.inf, -1.0, 0.0, 0.3, 1.0, 7.0, 2.0**53 - 1, 2.0**53, 1e9, 1e200, 5e-324]
)
FRAMENUMS = st.one_of(
    st.integers(0, 40), st.integers(0, 2**64 - 1), st.sampled_from([2**32, 2**63, 2**64 - 1, 2**64 - 40])
)


class Machine(RuleBasedStateMachine):
    """Two streams (the module's and another's) go on, restart and jump; packets are lost, doubled, mixed and maimed."""

    @initialize(
        packets=st.sampled_from([1, 2, 4, 8, 16]),
        window=st.integers(0, 3),
        gap=st.sampled_from([1, 3, 10, 50]),
        step=st.integers(1, 3),
        begin=st.sampled_from([0, 1, 30, 1000, 2**64 - 20]),
        land=st.booleans(),
    )
    def set_up(self, *, packets: int, window: int, gap: int, step: int, begin: int, land: bool) -> None:
        self.land = land
        self.geometry = small(packets)
        self.slots = Slots(self.geometry)
        rules = AssemblyRules(MODULE, window, 0.1, gap, 20, step)
        self.assembler = FrameAssembler(self.geometry, rules, self.slots, batch=BATCH, ahead=AHEAD)
        self.model = Model(packets, window=window, gap=gap, jump=20, step=step, flush_s=0.1)
        self.block = PacketBlock(self.geometry, BATCH)
        self.packets, self.step = packets, step
        self.streams = [[begin, 1000], [500, 90_000]]
        self.now = 10.0
        self.pixel = 0
        self.open_gate()

    def frame(self, stream: int) -> list[Packet]:
        index, pulse = self.streams[stream]
        made = []
        for number in range(self.packets):
            self.pixel = self.pixel % 250 + 1
            made.append(Packet(index % 2**64, number, float(pulse), fill=self.pixel))
        return made

    def next_frame(self, stream: int) -> None:
        self.streams[stream][0] += 1
        self.streams[stream][1] += self.step

    def feed(self, packets: list[Packet], size: int) -> None:
        for i in range(0, len(packets), size):
            part = packets[i : i + size]
            landings = self.assembler.landing() if self.land else ()
            self.assembler.feed(self.block, fill_block(self.block, self.geometry, part, landings), self.now)
            self.model.feed(part, self.now)

    @rule(frames=st.integers(1, 6), size=st.integers(1, BATCH), stream=st.sampled_from([0, 0, 0, 1]))
    def go_on(self, frames: int, size: int, stream: int) -> None:
        for _ in range(frames):
            self.feed(self.frame(stream), size)
            self.next_frame(stream)

    @rule(size=st.integers(1, BATCH), random=st.randoms(use_true_random=False), loss=st.sampled_from([0, 1, 4]))
    def go_on_badly(self, size: int, random, loss: int) -> None:
        packets: list[Packet] = []
        for _ in range(3):
            packets += self.frame(0)
            self.next_frame(0)
        packets += random.sample(packets, min(3, len(packets)))
        for _ in range(len(packets) // 2):
            i = random.randrange(len(packets))
            j = min(len(packets) - 1, i + random.randrange(1, 2 + self.packets))
            packets[i], packets[j] = packets[j], packets[i]
        self.feed(packets[: len(packets) - loss], size)

    @rule(size=st.integers(1, BATCH), count=st.integers(0, 16))
    def stop_mid_frame(self, size: int, count: int) -> None:
        self.feed(self.frame(0)[:count], size)

    @rule(size=st.integers(1, BATCH), burst=st.integers(1, 16))
    def two_senders(self, size: int, burst: int) -> None:
        mine, other = [], []
        for _ in range(4):
            mine += self.frame(0)
            other += self.frame(1)
            self.next_frame(0)
            self.next_frame(1)
        for i in range(0, len(mine), burst):
            self.feed(mine[i : i + burst] + other[i : i + burst], size)

    @rule(frame=FRAMENUMS, number=st.integers(0, 20), pulse=PULSES, size=st.integers(1, BATCH), again=st.integers(1, 9))
    def wild(self, frame: int, number: int, pulse: float, size: int, again: int) -> None:
        self.feed([Packet(frame, number, pulse, fill=9)] * again, size)

    @rule(back=st.integers(-3, 40), number=st.integers(0, 15), own_pulse=st.booleans(), pulse=PULSES)
    def near(self, back: int, number: int, own_pulse: bool, pulse: float) -> None:
        index, newest = self.streams[0]
        own = float(newest - back * self.step)
        self.feed([Packet(max(0, index - back) % 2**64, number, own if own_pulse else pulse, fill=8)], 1)

    @rule(
        pulse=PULSES,
        positions=st.lists(st.integers(0, 15), max_size=4),
        whole=st.booleans(),
        size=st.integers(1, BATCH),
    )
    def bad_pulse(self, pulse: float, positions: list[int], whole: bool, size: int) -> None:
        packets = self.frame(0)
        self.feed([p.but(pulse=pulse) if whole or p.number in positions else p for p in packets], size)
        self.next_frame(0)

    @rule(
        kinds=st.lists(
            st.sampled_from(["short", "long", "empty", "module", "foreign", "number"]), min_size=1, max_size=8
        ),
        size=st.integers(1, BATCH),
    )
    def maimed(self, kinds: list[str], size: int) -> None:
        change = {
            "short": {"length": 40},
            "long": {"length": 100},
            "empty": {"length": 0},
            "module": {"module": 6},
            "foreign": {"foreign": True},
            "number": {"number": 77},
        }
        packets = self.frame(0)
        for i, kind in enumerate(kinds):
            packets.insert(min(2 * i, len(packets)), packets[0].but(**change[kind]))
        self.feed(packets, size)
        self.next_frame(0)

    @rule(index=st.sampled_from([0, 1, 2, 700]), pulse=st.sampled_from([None, None, 1, 50_000, 2**40]))
    def restart(self, index: int, pulse: int | None) -> None:
        self.streams[0] = [index, self.streams[0][1] + 5 if pulse is None else pulse]

    @rule(frames=st.integers(1, 60), pulses=st.booleans())
    def frames_lost(self, frames: int, pulses: bool) -> None:
        self.streams[0][0] += frames
        self.streams[0][1] += frames * self.step if pulses else 1

    @rule(pulse=st.sampled_from([-3, -1, 0, 21, 100, 10**9]))
    def pulse_jump(self, pulse: int) -> None:
        self.streams[0][1] = max(1, self.streams[0][1] + pulse)

    @rule(seconds=st.sampled_from([0.001, 0.05, 0.11, 0.4, 2.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.assembler.tick(self.now)
        self.model.tick(self.now)

    @rule(exhausted=st.booleans())
    def exhaust(self, exhausted: bool) -> None:
        # The model knows no slots claimed ahead, which would still be there.
        self.assembler._discard_ahead()
        self.slots.exhausted = self.model.exhausted = exhausted

    @rule()
    def close_gate(self) -> None:
        self.assembler.close_gate()
        self.model.close_gate()

    @rule()
    def open_gate(self) -> None:
        self.assembler.open_gate()
        self.model.open_gate()

    @rule()
    def flush(self) -> None:
        self.assembler.flush()
        self.model.flush()

    @invariant()
    def nothing_is_counted_wrong(self) -> None:
        p, f = self.assembler.packets(), self.assembler.frames()
        assert {name: getattr(p, name) for name in self.model.packet_counts()} == self.model.packet_counts()
        assert {name: getattr(f, name) for name in self.model.frame_counts()} == self.model.frame_counts()
        fates = p.placed + p.bad_pulse + p.duplicate + p.late + p.alien + p.malformed + p.disabled + p.held
        assert p.received == fates
        assert p.expected == p.placed + p.bad_pulse + p.lost
        assert f.complete + f.incomplete == f.delivered + f.exhausted
        assert self.assembler.open_frames == len(self.model.open)
        ahead = self.slots.on_loan - sum(frame.has_slot for frame in self.model.open.values())
        assert 0 <= ahead <= AHEAD * self.land

    @invariant()
    def nothing_is_placed_wrong(self) -> None:
        found = [
            (d.index, d.pulse_id, d.flagged, {n: d.rows[n][0] for n, there in enumerate(d.mask) if there})
            for d in self.slots.done
        ]
        assert found == self.model.done
        for d in self.slots.done:
            assert all(len(set(row)) == 1 for row in d.rows)
            assert all(row[0] == 0 for row, there in zip(d.rows, d.mask, strict=True) if not there)
        self.slots.done.clear()
        self.model.done.clear()


@pytest.mark.timeout(120)
def test_machine():
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=120, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
