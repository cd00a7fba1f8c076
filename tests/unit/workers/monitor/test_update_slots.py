"""Updates that are received into the pebble, against the same ones received into transition slots."""

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.config import parse_config
from detectors.frame import RecordShape
from detectors.outputs.outputs import Outputs
from detectors.pools.pebble import Pebble
from detectors.pools.segment import least_slot_bytes
from detectors.pools.transition import TransitionPool
from detectors.run_state import RunState
from detectors.wire.ntndarray import ArrayHead
from detectors.workers.monitor import buffers
from detectors.workers.monitor.update_slots import UpdateMemory, UpdateSlots
from tests.support.fake_source import FakeSource
from tests.support.monitor_rig import MonitorRig
from tests.support.waiting import until

NBYTES = 64
COUNT = 16


class Memory:
    """A pebble, a transition pool, and a source that fills each update with its own number."""

    def __init__(self, ahead: int = 7) -> None:
        shape = RecordShape(NBYTES)
        self.pebble = Pebble(None, shape, count=COUNT, slot_bytes=least_slot_bytes(shape))
        self.slots = UpdateSlots(TransitionPool(COUNT, NBYTES), self.pebble, ahead)

    def begin(self, nbytes: int = NBYTES, *, plain: bool = True) -> UpdateMemory:
        memory = self.slots.acquire(nbytes, plain=plain)
        assert memory is not None
        return memory

    def filled(self, n: int) -> UpdateMemory:
        memory = self.begin()
        memory.view[:] = bytes([n] * NBYTES)
        memory.fill()
        return memory

    def place(self, memory: UpdateMemory, pulse_id: int, n: int) -> bool:
        """Place an update as the monitor does; return whether it was there already."""
        landed = memory.settle(pulse_id)
        if landed is None:
            self.slots.vacate(pulse_id)
        loan = landed or self.pebble.claim(pulse_id)
        if landed is None:
            memory.copy_to(loan.data)
        assert bytes(loan.data) == bytes([n] * NBYTES)
        loan.discard()
        memory.release()
        return landed is not None

    def steady(self) -> None:
        """Place pulses 1 and 2: the next ones are expected then."""
        for n in (1, 2):
            self.place(self.filled(n), n, n)

    @property
    def in_use(self) -> tuple[int, int]:
        return self.pebble.stats().in_use, self.slots.stats().in_use


def test_regular_updates_are_received_into_the_pebble_from_the_third_on() -> None:
    memory = Memory()
    assert [memory.place(memory.filled(n), n, n) for n in range(1, 60)] == [False, False, *[True] * 57]
    assert memory.in_use == (0, 0)


def test_several_under_way_have_slots_of_their_own() -> None:
    memory = Memory()
    memory.steady()
    filled = [memory.filled(n) for n in range(3, 8)]
    assert memory.in_use == (5, 5)
    assert all(memory.place(one, n, n) for n, one in enumerate(filled, 3))
    assert memory.pebble.stats().out_of_order == 0


def test_no_more_than_can_be_spared_are_claimed_ahead() -> None:
    memory = Memory(ahead=2)
    memory.steady()
    filled = [memory.filled(n) for n in range(3, 8)]
    assert memory.in_use == (2, 5)
    assert [memory.place(one, n, n) for n, one in enumerate(filled, 3)] == [True, True, False, False, False]
    assert memory.pebble.stats().out_of_order == 0


def test_the_source_gives_way_to_a_data_thread_that_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(ahead=2)
    memory.steady()
    filled = [memory.filled(3), memory.filled(4)]

    def catch_up(_: float) -> None:
        assert all(memory.place(filled.pop(0), n, n) for n in (3, 4))

    monkeypatch.setattr(time, "sleep", catch_up)
    assert memory.place(memory.filled(5), 5, 5)


def test_the_source_does_not_give_way_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(ahead=2)
    memory.steady()
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    filled = [memory.filled(n) for n in range(3, 8)]
    assert len(slept) == 1
    assert [memory.place(one, n, n) for n, one in enumerate(filled, 3)] == [True, True, False, False, False]
    memory.filled(8).release()
    assert len(slept) == 1


@pytest.mark.parametrize(("nbytes", "plain"), [(NBYTES, False), (NBYTES - 1, True)])
def test_what_is_not_a_record_as_it_comes_is_not_received_into_the_pebble(nbytes: int, plain: bool) -> None:
    memory = Memory()
    memory.steady()
    one = memory.begin(nbytes, plain=plain)
    assert memory.in_use == (0, 1)
    one.release()


def test_a_slot_near_the_newest_frame_is_not_claimed() -> None:
    memory = Memory()
    for n, pulse_id in enumerate((16, 32)):  # each in slot 0: the next one would hide the newest frame from readers
        memory.place(memory.filled(n), pulse_id, n)
    one = memory.begin()
    assert memory.in_use == (0, 1)
    one.release()


@pytest.mark.parametrize("pulse_id", [4, 19])
def test_an_update_of_another_pulse_is_copied(pulse_id: int) -> None:
    """Pulse 19 has the slot of the expected one, but another place in it."""
    memory = Memory()
    memory.steady()
    assert not memory.place(memory.filled(7), pulse_id, 7)
    assert memory.in_use == (0, 0)


def test_an_update_leaves_the_slot_of_another_event() -> None:
    memory = Memory()
    memory.steady()
    first, second = memory.filled(3), memory.filled(4)
    assert not memory.place(first, 20, 3)  # the slot that pulse 4 is expected in
    assert not memory.place(second, 21, 4)
    assert memory.in_use == (0, 0)


def test_an_update_under_way_leaves_the_slot_of_another_event_when_it_is_filled() -> None:
    memory = Memory()
    memory.steady()
    memory.slots.vacate(3)
    under_way = memory.begin()
    under_way.view[:] = bytes([3] * NBYTES)
    memory.slots.vacate(19)
    claimed: list[Any] = []
    waiting = threading.Thread(target=lambda: claimed.append(memory.pebble.claim(19, 10)))
    waiting.start()
    until(lambda: memory.pebble.stats().misses == 1)
    under_way.fill()
    waiting.join(10)
    claimed[0].discard()
    assert not memory.place(under_way, 3, 3)


def test_an_abandoned_update_gives_back_both_slots() -> None:
    memory = Memory()
    memory.steady()
    memory.begin().release()
    assert memory.in_use == (0, 0)


def test_the_last_bytes_are_kept_while_others_take_their_turn() -> None:
    memory = Memory()
    memory.steady()
    one = memory.filled(3)
    kept = one.keep()
    memory.slots.vacate(3)
    memory.pebble.claim(3).data[:] = 99
    assert bytes(kept) == bytes([3] * NBYTES)
    one.release()
    assert bytes(one.keep()) == bytes([3] * NBYTES)


def test_nothing_is_claimed_once_closed() -> None:
    memory = Memory()
    memory.steady()
    memory.slots.close()
    memory.pebble.close()
    memory.begin().release()


# --- a whole monitor, with and without


@contextmanager
def monitor(name: str, frames: list[Any], *, ahead: bool) -> Iterator[MonitorRig]:
    offer = Outputs.offer

    def noted(self: Outputs, lease: Any) -> None:
        frames.append((lease.head, bytes(lease.data)))
        offer(self, lease)

    text = f"""
    [detector]
    name = "DET"
    prefix = "T:AHEAD{name}:"
    [dma]
    cfgRxCount = {COUNT - 1}
    cfgSize = "4 KiB"
    [pools]
    exhausted_wait_s = 0
    [[pva]]
    name = "CAM"
    pv = ["A=SIM:A"]
    """
    with ExitStack() as stack, pytest.MonkeyPatch.context() as m:
        if not ahead:
            m.setattr(buffers, "slots_ahead", lambda *_, **__: 0)
        m.setattr(Outputs, "offer", noted)
        rig = MonitorRig(parse_config(text), RunState.ENABLED, [FakeSource()], stack)
        rig.up()
        yield rig
        rig.worker.finish(time.monotonic() + 5)
        assert (rig.status.pebble.in_use, rig.status.transition.in_use) == (0, 0)


def run(rig: MonitorRig, script: list[tuple[str, int]]) -> dict[str, Any]:
    """Play a script, and return what there is to compare."""
    source, n, waiting = rig.source, 1, 0
    assert source.sink is not None
    slot: memoryview | None = None
    for what, step in script:
        if what == "step" or waiting == 5:
            rig.step()
            waiting = 0
        elif slot is not None and what == "abandon":
            source.sink.abandon()
            slot = None
        elif slot is not None:
            slot[:] = source.pixels(n).tobytes()
            source.sink.update(ArrayHead(source.shape, np.dtype(source.dtype), NBYTES, unique_id=n, timestamp_ns=n))
            slot, waiting = None, waiting + 1
        elif what == "again" and source.sink.last() is not None:
            n += 1
            source.send_again(n)
            waiting += 1
        else:
            n += step
            slot = source.sink.slot(NBYTES)
    if slot is not None:
        source.sink.abandon()
    rig.step()
    status = rig.status
    pebble = {name: getattr(status.pebble, name) for name in ("in_use", "misses", "exhausted", "out_of_order")}
    return {"updates": asdict(status.updates), "transition": asdict(status.transition), "pebble": pebble}


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["send", "send", "send", "step", "abandon", "again"]), st.sampled_from([1, 1, 1, 2, 3])
        ),
        max_size=60,
    )
)
def test_a_monitor_makes_the_same_events_with_and_without(script: list[tuple[str, int]]) -> None:
    found = []
    with tempfile.TemporaryDirectory(prefix="pd", dir="/tmp") as folder, pytest.MonkeyPatch.context() as m:
        m.setenv("XDG_RUNTIME_DIR", folder)
        for ahead in (False, True):
            frames: list[Any] = []
            with monitor(str(int(ahead)), frames, ahead=ahead) as rig:
                found.append((run(rig, script), frames))
    assert found[0] == found[1]


def test_a_monitor_receives_regular_images_into_the_pebble(short_runtime_dir: Any) -> None:
    frames: list[Any] = []
    with monitor("R", frames, ahead=True) as rig:
        for n in range(1, 40):
            assert rig.source.send(n)
            rig.step()
        present = rig.worker._store.present
        assert present is not None
        assert rig.source.sink is not None
        slot = rig.source.sink.slot(NBYTES)
        assert slot is not None
        assert np.shares_memory(np.frombuffer(slot, np.uint8), present.pebble.region.array)
        rig.source.sink.abandon()
    assert [head.pulse_id for head, _ in frames] == list(range(1, 40))
    assert all(data == rig.source.pixels(n).tobytes() for n, (_, data) in enumerate(frames, 1))
