import ctypes
import threading
from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.errors import DoubleReleaseError, SizingError, UseAfterReleaseError
from detectors.pools.dma import DmaRing
from detectors.pools.region import PAGE


def test_buffers_are_read_in_order_and_released():
    ring = DmaRing(3, 100)
    assert ring.read() is None
    for data in (b"a", b"", b"ccc"):
        assert ring.push(data)
    buffers = [ring.read() for _ in range(3)]
    assert [bytes(b.data) for b in buffers if b] == [b"a", b"", b"ccc"]
    assert [len(b) for b in buffers if b] == [1, 0, 3]
    assert ring.stats().in_use == 3
    for buffer in buffers:
        assert buffer is not None
        assert buffer.data.readonly
        buffer.release()
        with pytest.raises(UseAfterReleaseError):
            _ = buffer.data
        with pytest.raises(DoubleReleaseError):
            buffer.release()
    stats = ring.stats()
    assert (stats.count, stats.size_bytes, stats.total_bytes, stats.granted_bytes) == (3, 100, 300, 300)
    assert (stats.in_use, stats.high_water, stats.overruns) == (0, 3, 0)


def test_a_full_ring_overruns_until_the_oldest_is_released():
    ring = DmaRing(2, 10)
    assert ring.push(b"1")
    assert ring.push(b"2")
    assert not ring.push(b"3")
    first, second = ring.read(), ring.read()
    assert first is not None
    assert second is not None
    second.release()  # not the next one: the ring goes on in order
    assert not ring.push(b"4")
    first.release()
    assert ring.push(b"5")
    assert ring.push(b"6")
    assert ring.stats().overruns == 2
    for wanted in (b"5", b"6"):
        buffer = ring.read()
        assert buffer is not None
        assert bytes(buffer.data) == wanted
        buffer.release()


def test_what_does_not_fit_a_buffer_is_lost_and_counted():
    ring = DmaRing(2, 10)
    assert not ring.push(bytes(11))
    assert ring.push(bytes(10))
    assert ring.stats().overruns == 1


def test_the_consumer_waits_for_the_producer():
    ring = DmaRing(4, 8)
    got: list[bytes] = []

    def consume() -> None:
        while len(got) < 100:
            buffer = ring.read(10)
            assert buffer is not None
            got.append(bytes(buffer.data))
            buffer.release()

    thread = threading.Thread(target=consume)
    thread.start()
    sent = 0
    while sent < 100:
        sent += ring.push(sent.to_bytes(4, "little"))
    thread.join(10)
    assert [int.from_bytes(data, "little") for data in got] == list(range(100))
    assert ring.read(0.01) is None


def test_a_checked_ring_counts_an_overwritten_end():
    ring = DmaRing(1, PAGE - 4, checked=True)
    address = np.frombuffer(ring._slots[0], np.uint8).ctypes.data
    word = (ctypes.c_uint8 * 4).from_address(address + PAGE - 4)
    assert bytes(word) == bytes.fromhex("abababab")
    ring.push(b"x")
    buffer = ring.read()
    assert buffer is not None
    word[0] = 0
    buffer.release()
    assert ring.stats().overruns == 1
    assert bytes(word) == bytes.fromhex("abababab")


@pytest.mark.parametrize(("count", "size"), [(0, 1), (1, 0)])
def test_empty_rings_are_refused(count: int, size: int):
    with pytest.raises(SizingError):
        DmaRing(count, size)


@given(
    st.integers(1, 4), st.lists(st.one_of(st.binary(max_size=12), st.sampled_from(["read", "release"])), max_size=60)
)
def test_the_ring_agrees_with_a_queue(count: int, steps: list):
    ring = DmaRing(count, 10)
    filled: deque[bytes] = deque()
    held: deque = deque()
    overruns = high = 0
    for step in steps:
        if step == "read":
            buffer = ring.read()
            assert (buffer is None) == (not filled)
            if buffer:
                assert bytes(buffer.data) == filled.popleft()
                held.append(buffer)
        elif step == "release":
            if held:
                held.popleft().release()
        else:
            room = len(filled) + len(held) < count and len(step) <= 10
            assert ring.push(step) == room
            overruns += not room
            if room:
                filled.append(step)
        high = max(high, len(filled) + len(held))
    stats = ring.stats()
    assert (stats.in_use, stats.high_water, stats.overruns) == (len(filled) + len(held), high, overruns)
    for buffer in held:
        buffer.release()
