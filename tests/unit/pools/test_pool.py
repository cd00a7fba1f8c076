import asyncio
import gc
import logging
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.errors import DoubleReleaseError, SizingError, UseAfterReleaseError
from detectors.pools.pool import Pool


def test_an_object_is_made_once_and_lent_again():
    made: list[list[int]] = []

    def factory() -> list[int]:
        made.append([])
        return made[-1]

    pool = Pool(2, factory, list.clear)
    for number in range(5):
        with pool.acquire() as loan:
            loan.item.append(number)
            assert loan.get() == [number]
            assert pool.available == 1
    assert len(made) == 2
    assert made == [[], []]
    assert (pool.size, pool.available) == (2, 2)


def test_none_when_nothing_is_free():
    pool = Pool(1, dict)
    loan = pool.try_acquire()
    assert loan is not None
    assert pool.try_acquire() is None
    assert pool.try_acquire_timeout(0.01) is None
    loan.release()
    again = pool.try_acquire_timeout(0.01)
    assert again is not None
    again.release()
    stats = pool.stats()
    assert (stats.acquires, stats.returns, stats.misses, stats.exhausted) == (2, 2, 2, 2)
    assert stats.wait_s > 0


def test_acquire_waits_for_a_release():
    pool = Pool(1, dict)
    loan = pool.acquire()
    slots: list[int] = []

    def work() -> None:
        with pool.acquire() as other:
            slots.append(other.slot_index)

    thread = threading.Thread(target=work)
    thread.start()
    loan.release()
    thread.join(10)
    assert slots == [loan.slot_index] == [0]


def test_the_async_forms():
    async def main() -> None:
        pool = Pool(1, dict)
        loan = await pool.acquire_async()
        assert await pool.try_acquire_timeout_async(0.01) is None
        waiting = asyncio.create_task(pool.acquire_async())
        await asyncio.sleep(0)
        assert not waiting.done()
        loan.release()
        with await asyncio.wait_for(waiting, 10) as other:
            assert other.slot_index == 0
        assert pool.available == 1

    asyncio.run(main())


def test_every_task_gets_its_turn():
    async def main() -> None:
        pool = Pool(2, lambda: [0])
        used = 0

        async def work() -> None:
            nonlocal used
            for _ in range(20):
                with await pool.acquire_async() as loan:
                    loan.item[0] += 1
                    await asyncio.sleep(0)
                    loan.item[0] -= 1
                    assert loan.item[0] == 0
                used += 1

        await asyncio.gather(*(work() for _ in range(10)))
        assert used == 200
        assert pool.stats().high_water == 2

    asyncio.run(main())


def test_a_loan_that_ended_is_refused():
    loan = Pool(1, dict).acquire()
    loan.release()
    with pytest.raises(DoubleReleaseError, match="slot 0 was released twice"):
        loan.release()
    for use in (loan.get, lambda: loan.item, loan.clone_item, loan.try_clone, loan.__enter__):
        with pytest.raises(UseAfterReleaseError, match="after its release"):
            use()


def test_a_loan_may_be_released_within_its_block():
    pool = Pool(1, dict)
    with pool.acquire() as loan:
        loan.release()
    assert pool.available == 1


def test_a_reset_that_raises_does_not_lose_the_slot():
    def reset(item: list[int]) -> None:
        if item:
            item.clear()
            raise ValueError("dirty")

    pool = Pool(1, list, reset)
    loan = pool.acquire()
    loan.item.append(1)
    with pytest.raises(ValueError, match="dirty"):
        loan.release()
    assert (pool.available, pool.reset_errors) == (1, 1)
    with pytest.raises(DoubleReleaseError):
        loan.release()
    with pytest.raises(ValueError, match="dirty"), pool.acquire() as loan:
        loan.item.append(2)
    assert (pool.available, pool.reset_errors) == (1, 2)
    with pool.acquire() as loan:
        assert loan.item == []


def test_two_threads_that_release_one_loan_reset_it_once():
    for _ in range(50):
        resets: list[object] = []
        errors: list[Exception] = []
        pool = Pool(1, dict, resets.append)
        loan = pool.acquire()
        start = threading.Barrier(2)

        def work(loan=loan, start=start, errors=errors) -> None:
            start.wait(10)
            try:
                loan.release()
            except DoubleReleaseError as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert (len(resets), len(errors), pool.available) == (1, 1, 1)


def test_a_pool_dropped_while_loaned_is_safe():
    pool = Pool(1, lambda: np.zeros(10), lambda item: item.fill(0))
    dropped = weakref.ref(pool._ledger)
    loan = pool.acquire()
    del pool
    gc.collect()
    loan.item[:] = 5
    assert loan.item.sum() == 50
    loan.release()
    del loan
    gc.collect()
    assert dropped() is None


def test_a_loan_that_was_forgotten_comes_back_reset(caplog):
    pool = Pool(1, list, list.clear)
    loan = pool.acquire()
    loan.item.append(1)
    with caplog.at_level(logging.INFO):
        del loan
        gc.collect()
    assert caplog.text == ""
    assert pool.stats().collected == 1
    with pool.acquire() as loan:
        assert loan.item == []


def test_a_forgotten_loan_whose_reset_raises_comes_back(caplog):
    def reset(item: object) -> None:
        raise ValueError("dirty")

    pool = Pool(1, list, reset)
    loan = pool.acquire()
    del loan
    gc.collect()
    assert "reset failed for slot 0" in caplog.text
    assert (pool.available, pool.reset_errors) == (1, 1)


def test_clone_item_leaves_the_slot_free():
    pool = Pool(1, lambda: np.zeros(3), lambda item: item.fill(0))
    loan = pool.acquire()
    loan.item[:] = 7
    clone = loan.clone_item()
    assert clone.tolist() == [7, 7, 7]
    with pool.acquire() as again:
        assert again.item.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("factory", "change"),
    [
        (lambda: np.zeros(3), lambda item: item.fill(7)),
        (lambda: bytearray(3), lambda item: item.extend(b"abc")),
        (list, lambda item: item.append([1])),
    ],
    ids=["array", "bytearray", "list"],
)
def test_try_clone_takes_another_slot(factory, change):
    pool = Pool(2, factory)
    loan = pool.acquire()
    change(loan.item)
    clone = loan.try_clone()
    assert clone is not None
    assert clone.slot_index != loan.slot_index
    assert clone.item is not loan.item
    assert np.array_equal(clone.item, loan.item)
    assert loan.try_clone() is None
    change(loan.item)
    slot = clone.slot_index
    clone.release()
    loan.release()
    assert pool._items[slot] is clone._item


def test_a_clone_that_fails_gives_its_slot_back():
    class Stubborn:
        def __deepcopy__(self, memo: object) -> object:
            raise RuntimeError("no copies")

    pool = Pool(2, Stubborn)
    with pool.acquire() as loan:
        with pytest.raises(RuntimeError, match="no copies"):
            loan.try_clone()
        assert pool.available == 1


def test_growth_is_asked_for_and_logged(caplog):
    pool = Pool(1, dict)
    loan = pool.acquire()
    assert pool.try_acquire() is None
    with caplog.at_level(logging.WARNING):
        pool.grow(2)
    assert "back-pressure: grown by 2 to 3 slots after 1 misses" in caplog.text
    assert (pool.size, pool.available) == (3, 2)
    others = [pool.acquire() for _ in range(2)]
    assert {loan.slot_index, *(other.slot_index for other in others)} == {0, 1, 2}
    for each in (loan, *others):
        each.release()
    for wrong in (0, -1):
        with pytest.raises(SizingError):
            pool.grow(wrong)
    with pytest.raises(SizingError):
        Pool(0, dict)


@given(st.integers(1, 5), st.lists(st.tuples(st.booleans(), st.integers(0, 4)), max_size=60))
def test_the_pool_agrees_with_a_set(size: int, steps: list[tuple[bool, int]]):
    pool = Pool(size, object)
    loans = []
    for acquire, which in steps:
        if acquire:
            loan = pool.try_acquire()
            assert (loan is None) == (len(loans) == size)
            if loan:
                assert loan.item not in [other.item for other in loans]
                loans.append(loan)
        elif loans:
            loans.pop(which % len(loans)).release()
        assert pool.available == size - len(loans)
    for loan in loans:
        loan.release()
