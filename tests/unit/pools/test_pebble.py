import ctypes
import gc
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from detectors.errors import (
    CapacityError,
    DoubleReleaseError,
    HostError,
    PoolError,
    PoolExhaustedError,
    SizingError,
    UseAfterReleaseError,
)
from detectors.frame import Damage, FrameHead, RecordShape
from detectors.pools.pebble import Pebble, PebbleLease, PebbleLoan
from detectors.pools.pebble_reader import PebbleReader
from detectors.pools.segment import least_slot_bytes
from tests.support.waiting import until

SHAPE = RecordShape(10_000)


@pytest.fixture
def make(shm_path: Path, stack: ExitStack) -> Callable[..., Pebble]:
    """What makes pebbles, which are closed when the test ends."""

    def made(path: Path | None = None, count: int = 4, **more) -> Pebble:
        pebble = Pebble(path, SHAPE, count=count, slot_bytes=least_slot_bytes(SHAPE), **more)
        stack.callback(pebble.close)
        return pebble

    return made


def head(pulse_id: int, **known: Any) -> FrameHead:
    return FrameHead(pulse_id, pulse_id + 7, 3, 128, 5)._replace(**known)


def freeze(loan: PebbleLoan, **known: Any) -> PebbleLease:
    loan.data[:] = loan.pulse_id % 251
    return loan.freeze(head(loan.pulse_id, **known))


def fill(pebble: Pebble, pulse_id: int, **known: Any) -> PebbleLease:
    return freeze(pebble.claim(pulse_id), **known)


def read(reader: PebbleReader, pulse_id: int) -> np.ndarray | None:
    out = np.empty(10_000, np.uint8)
    return out if reader.read(pulse_id, out) else None


def record_of(pulse_id: int) -> bytes:
    """The documented record, written independently."""
    return struct.pack("<B5Q", 0xBE, pulse_id, pulse_id + 7, 3, 128, 5) + bytes([pulse_id % 251]) * 10_000


@pytest.mark.parametrize("pulse_id", [0, 1, 999, 1000, 12_345_999, (1 << 64) - 8])
def test_a_record_is_the_documented_one(pulse_id: int, make):
    pebble = make()
    lease = fill(pebble, pulse_id)
    wanted = record_of(pulse_id)
    assert bytes(lease.record) == wanted
    assert bytes(lease.wire_head) == wanted[1:41]
    assert bytes(lease.data) == wanted[41:]
    assert all(part.readonly for part in (lease.record, lease.wire_head, lease.data))
    lease.close()


@pytest.mark.parametrize("align", [1, 512, 4096])
def test_a_span_is_whole_sectors_in_memory_and_in_the_file(align: int):
    shape = RecordShape(10_000, align)
    pebble = Pebble(None, shape, count=8, slot_bytes=least_slot_bytes(shape))
    for pulse_id in range(995, 1000):
        with pebble.claim(pulse_id).freeze(head(pulse_id)) as lease:
            span, place, offset = lease.span()
            memory = np.frombuffer(span, np.uint8)
            assert not span.readonly
            assert memory.ctypes.data % align == offset % align == len(span) % align == 0
            assert offset + place == pulse_id % 1000 * shape.record_bytes
            assert place < align
            assert place + shape.record_bytes <= len(span) < place + shape.record_bytes + align
            assert bytes(span[place : place + shape.record_bytes]) == bytes(lease.record)
    pebble.close()


def test_the_address_is_that_of_the_data(make):
    pebble = make()
    with pebble.claim(77) as loan:
        assert loan.address == loan.data.ctypes.data
        assert (loan.data.size, loan.data.dtype) == (10_000, np.uint8)


def test_the_slot_follows_from_the_pulse(make):
    pebble = make(pulse_id_step=100)
    slots = []
    for pulse_id in (0, 100, 250, 300, 400, 12_345_900):
        with pebble.claim(pulse_id) as loan:
            slots.append(loan.slot)
    assert slots == [0, 1, 2, 3, 0, 123_459 & 3]


def test_at_most_count_minus_one_are_in_use(make):
    pebble = make()
    leases = [fill(pebble, pulse) for pulse in range(3)]
    with pytest.raises(PoolExhaustedError, match="3 of 4 slots") as caught:
        pebble.claim(3)
    assert "\n" not in str(caught.value)
    leases[0].close()
    leases.append(fill(pebble, 3))
    for lease in leases[1:]:
        lease.close()
    stats = pebble.stats()
    assert (stats.acquires, stats.returns, stats.in_use, stats.high_water) == (4, 4, 0, 3)
    assert (stats.misses, stats.exhausted, stats.out_of_order) == (1, 1, 0)


def test_a_leased_slot_is_not_overwritten(make):
    pebble = make()
    lease = fill(pebble, 1)
    clone = lease.clone()
    lease.close()
    with pytest.raises(PoolExhaustedError, match="slot 1 has 1 holders"):
        pebble.claim(5, 0.01)
    assert bytes(clone.record) == record_of(1)
    assert pebble.stats().wait_s >= 0.009
    clone.close()
    fill(pebble, 5).close()


def test_a_claim_waits_for_its_slot(make):
    pebble = make()
    lease = fill(pebble, 2)
    got: list[int] = []

    def produce() -> None:
        with pebble.claim(6, 10) as loan:
            got.append(loan.slot)

    thread = threading.Thread(target=produce)
    thread.start()
    until(lambda: pebble.stats().misses)
    lease.close()
    thread.join(10)
    assert got == [2]
    stats = pebble.stats()
    assert (stats.exhausted, stats.in_use) == (0, 0)
    assert stats.wait_s > 0


def test_releases_out_of_order_are_counted(make):
    pebble = make(count=8)
    first, second, third = (fill(pebble, pulse) for pulse in range(3))
    second.close()
    assert pebble.stats().out_of_order == 1
    first.close()
    third.close()
    assert pebble.stats().out_of_order == 1
    fourth = fill(pebble, 3)
    pebble.claim(4).discard()  # never was an event
    fourth.close()
    assert pebble.stats().out_of_order == 1


def test_a_hold_that_ended_is_refused(make):
    pebble = make()
    loan = pebble.claim(0)
    lease = freeze(loan)
    with pytest.raises(UseAfterReleaseError):
        freeze(loan)
    with pytest.raises(DoubleReleaseError):
        loan.discard()
    assert bytes(lease.record) == record_of(0)
    lease.close()
    for use in (lambda: lease.record, lambda: lease.wire_head, lambda: lease.data, lease.span, lease.clone):
        with pytest.raises(UseAfterReleaseError):
            use()
    with pytest.raises(DoubleReleaseError):
        lease.close()
    loan = pebble.claim(1)
    loan.discard()
    with pytest.raises(DoubleReleaseError):
        loan.discard()
    pebble.close()
    with pytest.raises(PoolError, match="closed"):
        pebble.claim(2)


def test_a_freeze_refused_leaves_the_loan(make):
    pebble = make()
    loan = pebble.claim(0)
    with pytest.raises(struct.error):
        loan.freeze(head(0, frame_index=-1))
    with pytest.raises(PoolError, match="found the head of pulse 4, expected 0"):
        loan.publish(head(4))
    freeze(loan).close()
    assert pebble.stats().in_use == 0


def test_leases_outlive_the_pebble(shm_path: Path, make):
    pebble = make(shm_path)
    lease = fill(pebble, 3)
    loan = pebble.claim(4)
    pebble.close()
    pebble.close()
    assert not shm_path.exists()
    clone = lease.clone()
    lease.close()
    assert bytes(clone.record) == record_of(3)
    clone.close()
    freeze(loan).close()
    assert pebble.stats().in_use == 0


def test_forgotten_loans_and_leases_come_back(shm_path: Path, make):
    pebble = make(shm_path)
    reader = PebbleReader(shm_path)
    lease, loan = fill(pebble, 0), pebble.claim(1)
    del lease, loan
    gc.collect()
    assert (pebble.stats().in_use, pebble.stats().collected) == (0, 2)
    assert read(reader, 0) is not None
    assert read(reader, 1) is None


def test_a_reader_gets_each_finished_pulse_once(shm_path: Path, make):
    pebble = make(shm_path)
    fill(pebble, 100).close()
    reader = PebbleReader(shm_path)
    assert reader.finished() == [100]
    assert reader.finished() == []
    loan = pebble.claim(101)
    assert reader.finished() == []
    freeze(loan).close()
    fill(pebble, 102).close()
    assert sorted(reader.finished()) == [101, 102]
    fill(pebble, 3).close()  # pulses that begin anew
    pebble.claim(101).discard()
    assert reader.finished() == [3]


def test_checked_mode_counts_writes_past_the_end(make):
    pebble = make(checked=True)
    size = least_slot_bytes(SHAPE)
    slots = pebble.region.address + pebble.layout.slots_offset
    words = [(ctypes.c_uint8 * 4).from_address(slots + (i + 1) * size - 4) for i in range(4)]
    assert [bytes(word) for word in words] == [bytes.fromhex("cdcdcdcd")] * 4
    loan = pebble.claim(1)
    ctypes.memset(loan.address, 0, slots + 2 * size - loan.address)
    loan.discard()
    assert pebble.stats().overruns == 1
    with fill(pebble, 2) as lease:
        span, _, _ = lease.span()
        span[:] = bytes(len(span))  # the writer may use all of its sectors
    assert pebble.stats().overruns == 1
    assert [bytes(word) for word in words] == [bytes.fromhex("cdcdcdcd")] * 4


@pytest.mark.parametrize(("count", "slot_bytes"), [(3, 16384), (4, 4096), (4, 16385)])
def test_sizes_against_the_rules_leave_nothing_behind(shm_path: Path, count: int, slot_bytes: int):
    with pytest.raises(SizingError):
        Pebble(shm_path, SHAPE, count=count, slot_bytes=slot_bytes)
    assert not shm_path.exists()


def test_a_reader_gets_what_was_published(shm_path: Path, make):
    pebble = make(shm_path, info={"detector": "JF", "shape": [50, 200]}, pulse_id_step=3)
    reader = PebbleReader(shm_path)
    assert reader.info == {"detector": "JF", "shape": [50, 200]}
    assert (reader.shape, reader.count, reader.pulse_id_step) == (SHAPE, 4, 3)
    known = {
        "timestamp_ns": 1_700_000_000_000_000_000,
        "detector_time": 17_000_000_000_000_001,
        "damage": Damage.MISSING_DATA | Damage.BAD_PULSE,
        "expected_packets": 131,
        "missing": bytes([1, 0, 255]) + bytes(61),
    }
    fill(pebble, 9, **known).close()
    out = np.empty(10_000, np.uint8)
    found = reader.read(9, out)
    assert found == (9, 16, 3, 128, 5, *known.values())
    assert isinstance(found.damage, Damage)
    assert (out == 9).all()
    with pytest.raises(CapacityError, match="expected 10,000"):
        reader.read(9, np.empty(9_999, np.uint8))
    reader.close()
    reader.close()
    with pytest.raises(UseAfterReleaseError):
        reader.read(9, out)


def test_a_reader_counts_too_early_apart_from_too_late(shm_path: Path, make):
    pebble = make(shm_path)
    reader = PebbleReader(shm_path)
    assert read(reader, 0) is None  # never filled: pulse 0 is not "empty"
    fill(pebble, 0).close()
    assert read(reader, 0) is not None
    assert read(reader, 4) is None  # not yet
    assert (reader.missing, reader.overwritten) == (2, 0)
    loan = pebble.claim(4)
    assert read(reader, 0) is None  # being overwritten
    assert (reader.missing, reader.overwritten) == (2, 1)
    lease = freeze(loan)
    assert read(reader, 0) is None  # overwritten
    assert read(reader, 4) is not None  # also while leased
    assert (reader.missing, reader.overwritten) == (2, 2)
    lease.close()
    pebble.claim(8).discard()
    assert read(reader, 8) is None  # dropped
    assert (reader.missing, reader.overwritten) == (3, 2)


def test_a_slot_overwritten_during_the_copy_is_noticed(shm_path: Path, monkeypatch: pytest.MonkeyPatch, make):
    pebble = make(shm_path)
    reader = PebbleReader(shm_path)
    fill(pebble, 1).close()
    copy = np.copyto

    def slow_copy(out, source) -> None:
        copy(out, source)
        with monkeypatch.context() as once:
            once.setattr(np, "copyto", copy)
            fill(pebble, 5).close()

    monkeypatch.setattr(np, "copyto", slow_copy)
    assert read(reader, 1) is None
    assert reader.overwritten == 1


def test_a_reader_learns_that_its_pebble_is_gone(shm_path: Path, make):
    old = make(shm_path)
    reader = PebbleReader(shm_path)
    assert not reader.replaced()
    old.close()
    assert reader.replaced()
    with pytest.raises(HostError):
        PebbleReader(shm_path)
    new = make(shm_path)  # as after a crash, when the old one could not say goodbye
    crashed = PebbleReader(shm_path)
    newer = make(shm_path)
    assert crashed.replaced()
    for each in (reader, crashed, new, newer):
        each.close()


def test_a_file_that_is_no_pebble(tmp_path: Path):
    path = tmp_path / "segment"
    path.write_bytes(bytes(5000))
    with pytest.raises(HostError, match="no pebble of version 3"):
        PebbleReader(path)


FORKED = """
import gc, os, sys
from pathlib import Path
import numpy as np
from detectors.errors import PoolError
from detectors.frame import RecordShape
from detectors.pools.pebble import Pebble
from detectors.pools.pebble_reader import PebbleReader
from detectors.pools.segment import least_slot_bytes
from tests.unit.pools.test_pebble import head
shape = RecordShape(10_000)
pebble = Pebble(Path(sys.argv[1]), shape, count=4, slot_bytes=least_slot_bytes(shape))
loans = [pebble.claim(pulse_id) for pulse_id in (1, 2)]
child = os.fork()
if child == 0:
    refused = 0
    for use in (lambda: pebble.claim(0), lambda: loans[1].freeze(head(2)), lambda: pebble.claim_ahead(3)):
        try:
            use()
        except PoolError:
            refused += 1
    loans.pop().discard()
    loans.clear()
    gc.collect()
    pebble.close()
    os._exit(refused)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
reader = PebbleReader(Path(sys.argv[1]))
out = np.empty(10_000, np.uint8)
for loan in loans:
    assert reader.read(loan.pulse_id, out) is None  # still being written
    loan.freeze(head(loan.pulse_id)).close()
    assert reader.read(loan.pulse_id, out)
assert not reader.replaced()
pebble.close()
"""


def test_a_forked_child_does_not_touch_the_pebble_of_its_parent(shm_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(shm_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "3\n", "")


READER = """
import sys, time
from pathlib import Path
from typing import Any
import numpy as np
from detectors.pools.pebble_reader import PebbleReader
reader = PebbleReader(Path(sys.argv[1]))
out = np.empty(reader.shape.data_bytes, np.uint8)
print("ready", flush=True)
seen, pulse_id, deadline = 0, 0, time.monotonic() + 60
while not reader.replaced():
    assert time.monotonic() < deadline
    overwritten = reader.overwritten
    copy = reader.read(pulse_id, out)
    if copy:
        assert copy.pulse_id == pulse_id and copy.frame_index == pulse_id + 7
        assert (out == pulse_id % 251).all(), (pulse_id, out)
        seen += 1
    if copy or reader.overwritten > overwritten:
        pulse_id += 1
print(seen, reader.overwritten, flush=True)
"""


def test_another_process_never_sees_half_a_frame(shm_path: Path, make):
    pebble = make(shm_path, count=4)
    reader = subprocess.Popen([sys.executable, "-c", READER, str(shm_path)], stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    try:
        assert reader.stdout.readline() == "ready\n"
        for pulse_id in range(10_000):
            fill(pebble, pulse_id).close()
        pebble.close()
        seen, overwritten = map(int, reader.stdout.readline().split())
        assert reader.wait(30) == 0
    finally:
        reader.kill()
        reader.wait()
        reader.stdout.close()
    assert seen + overwritten > 0


class PebbleMachine(RuleBasedStateMachine):
    """A pebble and its reader against a dict of slots."""

    def __init__(self) -> None:
        super().__init__()
        self.path = Path("/dev/shm") / f"pebbledaq-test-machine-{id(self)}"
        self.pebble = Pebble(self.path, SHAPE, count=4, slot_bytes=least_slot_bytes(SHAPE))
        self.reader = PebbleReader(self.path)
        self.next = 0
        self.published: dict[int, int | None] = {}  # slot -> pulse; None while loaned or discarded
        self.loan: PebbleLoan | None = None
        self.leases: list[PebbleLease] = []
        self.released: list[int] = []

    @precondition(lambda self: self.loan is None)
    @rule(skip=st.integers(0, 3))
    def claim(self, skip: int) -> None:
        pulse_id = self.next + skip
        self.next = pulse_id + 1
        held = {lease.slot for lease in self.leases}
        if pulse_id % 4 in held or len(held) == 3:
            with pytest.raises(PoolExhaustedError):
                self.pebble.claim(pulse_id)
        else:
            self.loan = self.pebble.claim(pulse_id)
            self.published[pulse_id % 4] = None

    @precondition(lambda self: self.loan)
    @rule(keep=st.booleans())
    def finish(self, keep: bool) -> None:
        assert self.loan is not None
        if keep:
            self.leases.append(freeze(self.loan))
            self.published[self.loan.slot] = self.loan.pulse_id
        else:
            self.loan.discard()
        self.loan = None

    @precondition(lambda self: self.leases)
    @rule(which=st.integers(0, 20))
    def clone(self, which: int) -> None:
        self.leases.append(self.leases[which % len(self.leases)].clone())

    @precondition(lambda self: self.leases)
    @rule(which=st.integers(0, 20))
    def close(self, which: int) -> None:
        self.leases.pop(which % len(self.leases)).close()

    @rule(back=st.integers(0, 8))
    def read(self, back: int) -> None:
        pulse_id = max(self.next - back, 0)
        out = read(self.reader, pulse_id)
        if self.published.get(pulse_id % 4) == pulse_id:
            assert out is not None
            assert (out == pulse_id % 251).all()
        else:
            assert out is None

    @invariant()
    def every_lease_still_holds_its_record(self) -> None:
        for lease in self.leases:
            assert bytes(lease.record) == record_of(lease.pulse_id)
        in_use = {lease.slot for lease in self.leases} | ({self.loan.slot} if self.loan else set())
        stats = self.pebble.stats()
        assert stats.in_use == len(in_use) == stats.acquires - stats.returns

    def teardown(self) -> None:
        for lease in self.leases:
            lease.close()
        if self.loan:
            self.loan.discard()
        self.reader.close()
        self.pebble.close()
        assert not self.path.exists()


TestPebbleMachine = PebbleMachine.TestCase
TestPebbleMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
