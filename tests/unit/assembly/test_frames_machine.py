"""Arbitrary packet sequences, in blocks of any size, against the model: bytes, counters and masks must all be equal.

And the same sequences against the assembler itself with its fast path off.
"""

import math
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from detectors.assembly.frames import FrameAssembler
from detectors.assembly.rules import AssemblyRules
from detectors.geometry import ModuleGeometry
from detectors.wire.packet_block import Landing, PacketBlock
from tests.unit.assembly.frame_model import Model
from tests.unit.assembly.packets import MODULE, Done, Packet, Slots, fill_block, small

BATCH = 12
AHEAD = 5
PULSES = st.sampled_from(
    [math.nan, math.inf, -math.inf, -1.0, 0.0, 0.3, 1.0, 7.0, 7.5, 2.0**53 - 1, 2.0**53, 1e9, 1e200, 5e-324]
)
FRAMENUMS = st.one_of(
    st.integers(0, 40), st.integers(0, 2**64 - 1), st.sampled_from([2**32, 2**63, 2**64 - 1, 2**64 - 40])
)


class Subject:
    """An assembler with slots and a block of its own."""

    def __init__(self, geometry: ModuleGeometry, rules: AssemblyRules, *, land: bool) -> None:
        self.geometry, self.land = geometry, land
        self.slots = Slots(geometry)
        self.assembler = FrameAssembler(geometry, rules, self.slots, batch=BATCH, ahead=AHEAD)
        self.block = PacketBlock(geometry, BATCH)
        self.landings: Sequence[Landing] = ()

    def feed(self, packets: list[Packet], now: float) -> None:
        self.landings = self.assembler.landing() if self.land else ()
        n = fill_block(self.block, self.geometry, packets, self.landings)
        for finished in self.assembler.feed(self.block, n, now):
            self.slots.take(finished)

    def tick(self, now: float) -> None:
        self.slots.take(self.assembler.tick(now))

    def open_gate(self) -> None:
        self.slots.take(self.assembler.open_gate())

    def close_gate(self) -> None:
        self.slots.take(self.assembler.close_gate())

    def flush(self) -> None:
        self.slots.take(self.assembler.flush())

    def exhaust(self, exhausted: bool) -> None:
        # The model knows no slots claimed ahead, which would still be there.
        self.assembler._stream.landing.discard()
        self.slots.exhausted = exhausted

    def take_done(self) -> list[Done]:
        done, self.slots.done = self.slots.done, []
        return done


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
        rules = AssemblyRules(MODULE, window, 0.1, gap, 20, step, MODULE)
        self.subject = Subject(small(packets), rules, land=land)
        self.assembler = self.subject.assembler
        self.make_reference(packets, rules)
        self.packets, self.step = packets, step
        self.streams = [[begin, 1000], [500, 90_000]]
        self.now = 10.0
        self.pixel = 0
        self.open_gate()

    def make_reference(self, packets: int, rules: AssemblyRules) -> None:
        self.reference = Model(
            packets,
            window=rules.reorder_window,
            gap=rules.max_frame_gap,
            jump=rules.max_pulse_jump,
            step=rules.pulse_id_step,
            flush_s=rules.flush_timeout_s,
        )

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
            for fed in (self.subject, self.reference):
                fed.feed(packets[i : i + size], self.now)

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

    @rule(unusable=st.integers(1, 3), back=st.integers(1, 8), frames=st.integers(1, 6), size=st.integers(1, BATCH))
    def unusable_pulses_and_a_jump_back(self, unusable: int, back: int, frames: int, size: int) -> None:
        for _ in range(unusable):
            self.bad_pulse(pulse=math.nan, positions=[], whole=True, size=size)
        self.pulse_jump(pulse=-back)
        self.go_on(frames=frames, size=size, stream=0)

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
        for waiting in (self.subject, self.reference):
            waiting.tick(self.now)

    @rule(exhausted=st.booleans())
    def exhaust(self, exhausted: bool) -> None:
        for exhausting in (self.subject, self.reference):
            exhausting.exhaust(exhausted)

    @rule()
    def close_gate(self) -> None:
        for closing in (self.subject, self.reference):
            closing.close_gate()

    @rule()
    def open_gate(self) -> None:
        for opening in (self.subject, self.reference):
            opening.open_gate()

    @rule()
    def flush(self) -> None:
        for flushing in (self.subject, self.reference):
            flushing.flush()

    @invariant()
    def counters_balance(self) -> None:
        p, f = self.assembler.packets(), self.assembler.frames()
        fates = p.placed + p.bad_pulse + p.duplicate + p.late + p.alien + p.malformed + p.disabled + p.held
        assert p.received == fates
        assert p.expected == p.placed + p.bad_pulse + p.lost
        assert f.complete + f.incomplete == f.delivered + f.exhausted

    @invariant()
    def agrees_with_the_reference(self) -> None:
        model, p, f = self.reference, self.assembler.packets(), self.assembler.frames()
        assert {name: getattr(p, name) for name in model.packet_counts()} == model.packet_counts()
        assert {name: getattr(f, name) for name in model.frame_counts()} == model.frame_counts()
        assert self.assembler._window.open == len(model.open)
        ahead = self.subject.slots.on_loan - sum(frame.has_slot for frame in model.open.values())
        assert 0 <= ahead <= AHEAD * self.subject.land
        finished = self.subject.take_done()
        found = [
            (d.index, d.pulse_id, d.flagged, {n: d.rows[n][0] for n, there in enumerate(d.mask) if there})
            for d in finished
        ]
        assert found == model.done
        for d in finished:
            assert all(len(set(row)) == 1 for row in d.rows)
            assert all(row[0] == 0 for row, there in zip(d.rows, d.mask, strict=True) if not there)
        model.done.clear()


class TwinMachine(Machine):
    """The same against an assembler that takes every packet the slow way."""

    taken_fast = 0

    def make_reference(self, packets: int, rules: AssemblyRules) -> None:
        self.subject.land = True
        self.reference = Subject(self.subject.geometry, rules, land=True)
        self.reference.assembler._stream.take_landed = lambda block, runs: False  # type: ignore[method-assign]
        fast = self.assembler._stream.take_landed

        def count(block: PacketBlock, runs: list[tuple[int, int]]) -> bool:
            taken = fast(block, runs)
            TwinMachine.taken_fast += len(runs) * taken
            return taken

        self.assembler._stream.take_landed = count  # type: ignore[method-assign]

    @rule(
        frames=st.integers(4, 16),
        size=st.sampled_from([1, BATCH // 2, BATCH, BATCH]),
        fresh=st.booleans(),
        again=st.integers(1, 40),
    )
    def go_on_well(self, frames: int, size: int, fresh: bool, again: int) -> None:
        if fresh:
            self.flush()
            self.open_gate()
        packets: list[Packet] = []
        for _ in range(frames):
            packets += self.frame(0)
            self.next_frame(0)
        self.feed(packets, size)
        self.feed(packets[-again:][:3], size)

    @invariant()
    def agrees_with_the_reference(self) -> None:
        twin, assembler = self.reference, self.assembler
        assert assembler.packets() == twin.assembler.packets()
        assert assembler.frames() == twin.assembler.frames()
        assert assembler._window.open == twin.assembler._window.open
        assert assembler.period_s == pytest.approx(twin.assembler.period_s)
        assert assembler.latest == twin.assembler.latest
        assert assembler.latest_note == twin.assembler.latest_note
        assert self.subject.slots.on_loan == twin.slots.on_loan
        assert [rows.count for rows in self.subject.landings] == [rows.count for rows in twin.landings]
        assert self.subject.take_done() == twin.take_done()


def of_examples(number: int) -> settings:
    return settings(max_examples=number, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("examples", [30, pytest.param(300, marks=pytest.mark.long)])
def test_machine(examples: int):
    run_state_machine_as_test(Machine, settings=of_examples(examples))


@pytest.mark.parametrize(("examples", "fast"), [(30, 0), pytest.param(300, 1000, marks=pytest.mark.long)])
def test_fast_path_does_what_the_slow_one_does(examples: int, fast: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(TwinMachine, "taken_fast", 0)
    run_state_machine_as_test(TwinMachine, settings=of_examples(examples))
    assert TwinMachine.taken_fast >= fast
