import asyncio
import ctypes
import gc
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.errors import CapacityError, DoubleReleaseError, SizingError, UseAfterReleaseError
from detectors.pools.buffer_pool import BufferPool
from detectors.pools.region import PAGE
from detectors.pools.transition import TransitionPool


def take(pool: BufferPool):
    buffer = pool.try_acquire()
    assert buffer is not None
    return buffer


def test_a_buffer_is_written_frozen_and_shared():
    pool = BufferPool(1, 100)
    buffer = take(pool)
    assert (len(buffer), buffer.capacity) == (0, 100)
    buffer.view[:3] = b"abc"
    buffer.array[3] = ord("d")
    buffer.set_len(4)
    first = buffer.freeze()
    second = first.clone()
    assert bytes(first.data) == second.array.tobytes() == b"abcd"
    assert len(second) == 4
    assert second.data.readonly
    assert not second.array.flags.writeable
    first.close()
    assert pool.try_acquire() is None
    second.close()
    assert pool.available == pool.size == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"bytes",
        bytearray(b"array"),
        memoryview(b"view"),
        np.arange(5, dtype=">i4"),
        np.arange(12.0).reshape(3, 4).T,
        np.zeros((0, 3)),
        np.float32(3),
    ],
    ids=lambda d: type(d).__name__,
)
def test_copy_from_anything_with_bytes(data):
    with take(BufferPool(1, 200)) as buffer:
        buffer.copy_from(data)
        wanted = data.tobytes() if isinstance(data, np.ndarray | np.generic) else bytes(data)
        lease = buffer.freeze()
        assert bytes(lease.data) == wanted
        lease.close()


def test_a_slot_never_grows():
    buffer = take(BufferPool(1, 10))
    buffer.copy_from(bytes(10))
    for wrong in (11, -1, 1 << 40):
        with pytest.raises(CapacityError, match="expected 0 to 10"):
            buffer.set_len(wrong)
    with pytest.raises(CapacityError):
        buffer.copy_from(bytes(11))
    assert len(buffer) == 10
    buffer.release()


def test_a_hold_that_ended_is_refused():
    pool = BufferPool(1, 10)
    buffer = take(pool)
    lease = buffer.freeze()
    for use in (lambda: buffer.array, lambda: buffer.view, lambda: buffer.set_len(1), buffer.freeze):
        with pytest.raises(UseAfterReleaseError):
            use()
    with pytest.raises(DoubleReleaseError):
        buffer.release()
    lease.close()
    for use in (lambda: lease.data, lambda: lease.array, lease.clone):
        with pytest.raises(UseAfterReleaseError):
            use()
    with pytest.raises(DoubleReleaseError):
        lease.close()
    assert pool.stats().in_use == 0


def test_a_block_that_ends_early_returns_the_slot():
    pool = BufferPool(1, 10)
    with pytest.raises(RuntimeError, match="camera"), take(pool):
        raise RuntimeError("camera")
    with pool.acquire() as buffer, buffer.freeze() as lease:
        assert len(lease) == 0
    assert pool.available == 1


def test_memory_outlives_the_pool():
    pool = BufferPool(1, 1 << 20)
    buffer = take(pool)
    del pool
    gc.collect()
    buffer.copy_from(b"\x05" * (1 << 20))
    lease = buffer.freeze()
    assert lease.array.min() == 5
    lease.close()


@pytest.mark.parametrize("capacity", [1, 100, PAGE, PAGE + 1])
@pytest.mark.parametrize("checked", [False, True])
def test_slots_are_on_pages_and_apart(capacity: int, checked: bool):
    pool = BufferPool(3, capacity, checked=checked)
    buffers = [take(pool) for _ in range(3)]
    for number, buffer in enumerate(buffers):
        assert buffer.array.ctypes.data % PAGE == 0
        buffer.array[:] = number
    for number, buffer in enumerate(buffers):
        assert (buffer.array == number).all()
        buffer.release()
    assert pool.stats().overruns == 0


def test_a_forgotten_lease_comes_back():
    pool = TransitionPool(1, 10)
    lease = take(pool).freeze()
    del lease
    gc.collect()
    assert pool.available == 1
    assert pool.stats().collected == 1


def test_a_view_that_was_released_does_not_break_the_slot():
    pool = BufferPool(1, 10)
    for _ in range(2):
        with take(pool) as buffer:
            with buffer.view as view:
                view[:3] = b"abc"
            buffer.set_len(3)
            with buffer.freeze() as lease:
                with lease.data as data:
                    assert data == b"abc"
                assert lease.clone().data == b"abc"


def test_what_one_holder_does_to_its_array_does_not_reach_the_next():
    pool = BufferPool(1, 10)
    with take(pool) as buffer, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy deprecates it
        buffer.array.dtype = np.uint16
        array = buffer.array
        array.dtype = np.uint16
    with take(pool) as buffer:
        buffer.copy_from(b"abcd")
        with buffer.freeze() as lease:
            assert bytes(lease) == b"abcd"


def test_frozen_bytes_cannot_be_made_writable():
    with take(BufferPool(1, 10)) as buffer:
        buffer.copy_from(b"frozen")
        with buffer.freeze() as lease, lease.clone() as clone:
            for array in (lease.array, clone.array, lease.array[1:], lease.array.view(np.uint16)):
                with pytest.raises(ValueError, match="WRITEABLE"):
                    array.flags.writeable = True
            assert bytes(lease) == bytes(clone) == b"frozen"


def test_an_array_of_objects_is_refused_and_changes_nothing():
    with take(BufferPool(1, 100)) as buffer:
        buffer.copy_from(b"abc")
        with pytest.raises(TypeError):
            buffer.copy_from(np.array([object(), object()]))
        assert len(buffer) == 3


def test_copy_from_the_memory_of_an_sdk():
    source = ctypes.create_string_buffer(b"pixels")
    with take(BufferPool(1, 6)) as buffer:
        with pytest.raises(CapacityError):
            buffer.copy_from_address(ctypes.addressof(source), 7)
        buffer.copy_from_address(ctypes.addressof(source), 6)
        with buffer.freeze() as lease:
            assert bytes(lease) == b"pixels"


def test_an_empty_lease_has_empty_views():
    with take(BufferPool(1, 6)).freeze() as lease:
        assert (bytes(lease), lease.array.size, lease.array.dtype) == (b"", 0, np.uint8)


def test_checked_transition_buffers_count_an_overrun():
    pool = TransitionPool(2, PAGE - 4, checked=True)
    buffer = take(pool)
    word = (ctypes.c_uint8 * 4).from_address(buffer.array.ctypes.data + PAGE - 4)
    assert bytes(word) == bytes.fromhex("efefefef")
    ctypes.memset(buffer.array.ctypes.data, 0, PAGE - 3)
    buffer.release()
    assert pool.stats().overruns == 1
    assert bytes(word) == bytes.fromhex("efefefef")
    take(pool).release()
    assert pool.stats().overruns == 1


def test_stats_have_count_times_size():
    stats = TransitionPool(4, 1000).stats()
    assert (stats.count, stats.size_bytes, stats.total_bytes) == (4, 1000, 4000)


@pytest.mark.parametrize(("count", "capacity"), [(0, 1), (1, 0), (-1, 5)])
def test_empty_pools_are_refused(count: int, capacity: int):
    with pytest.raises(SizingError):
        BufferPool(count, capacity)


def test_waiting_forms():
    pool = BufferPool(1, 10)
    buffer = pool.try_acquire_timeout(0.01)
    assert buffer is not None
    assert pool.try_acquire_timeout(0.01) is None

    async def main() -> None:
        assert await pool.try_acquire_timeout_async(0.01) is None
        waiting = asyncio.create_task(pool.acquire_async())
        await asyncio.sleep(0)
        buffer.release()
        (await asyncio.wait_for(waiting, 10)).release()

    asyncio.run(main())
    assert pool.stats().exhausted == 2


def test_leases_closed_by_many_threads_free_the_slot_once():
    pool = BufferPool(2, 10)
    for _ in range(30):
        lease = take(pool).freeze()
        clones = [lease.clone() for _ in range(7)]
        start = threading.Barrier(8)

        def work(each, start=start) -> None:
            start.wait(10)
            each.close()

        threads = [threading.Thread(target=work, args=(each,)) for each in (lease, *clones)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    stats = pool.stats()
    assert (stats.acquires, stats.returns, stats.in_use) == (30, 30, 0)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_a_second_use_never_shows_the_first(first: bytes, second: bytes):
    pool = BufferPool(1, 40)
    for data in (first, second):
        buffer = take(pool)
        buffer.copy_from(data)
        with buffer.freeze() as lease:
            assert bytes(lease.data) == data
