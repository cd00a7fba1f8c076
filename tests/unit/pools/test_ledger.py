import asyncio
import gc
import logging
import sys
import threading

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from detectors.errors import DoubleReleaseError, PoolError, SizingError, UseAfterReleaseError
from detectors.pools.ledger import Hold, Ledger
from tests.support.waiting import until

COUNT = 4


def taken(ledger: Ledger) -> Hold:
    return Hold(ledger, ledger.take() or 0)


def one_taken() -> tuple[Ledger, Hold]:
    """A ledger whose only slot is held."""
    ledger = Ledger("test", 1)
    return ledger, taken(ledger)


def waiting_thread(ledger: Ledger) -> tuple[list[int | None], threading.Thread]:
    """A thread that waits for a slot, and what it will have got."""
    got: list[int | None] = []
    thread = threading.Thread(target=lambda: got.append(ledger.take(timeout_s=60)))
    thread.start()
    until(lambda: ledger._waiters)
    return got, thread


async def waiting_task(ledger: Ledger) -> asyncio.Task[int | None]:
    task = asyncio.create_task(ledger.take_async())
    await asyncio.sleep(0)
    assert ledger._waiters
    return task


class LedgerMachine(RuleBasedStateMachine):
    """A ledger by slot against a dict of holds in the order of their claims."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger("test", COUNT, size_bytes=10, by_slot=True, limit=COUNT - 1)
        self.claims: dict[int, list[Hold]] = {}
        self.acquires = self.misses = self.out_of_order = self.high_water = 0

    @rule(slot=st.integers(0, COUNT - 1))
    def take(self, slot: int) -> None:
        granted = self.ledger.take(slot)
        if slot in self.claims or len(self.claims) == COUNT - 1:
            assert granted is None
            self.misses += 1
            return
        assert granted == slot
        self.claims[slot] = [Hold(self.ledger, slot)]
        self.acquires += 1
        self.high_water = max(self.high_water, len(self.claims))

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def share(self, data) -> None:
        slot = data.draw(st.sampled_from(sorted(self.claims)))
        self.ledger.share(self.claims[slot][0])
        self.claims[slot].append(Hold(self.ledger, slot))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), event=st.booleans())
    def release(self, data, event: bool) -> None:
        slot = data.draw(st.sampled_from(sorted(self.claims)))
        hold = self.claims[slot].pop()
        self.ledger.release(hold, event=event)
        with pytest.raises(DoubleReleaseError):
            self.ledger.release(hold)
        with pytest.raises(UseAfterReleaseError):
            self.ledger.share(hold)
        self.forget(slot, event=event)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def lose(self, data) -> None:
        slot = data.draw(st.sampled_from(sorted(self.claims)))
        self.claims[slot].pop()
        self.forget(slot, event=False)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def hand_over(self, data) -> None:
        slot = data.draw(st.sampled_from(sorted(self.claims)))
        old = self.claims[slot].pop()
        self.ledger.hand_over(old)
        self.claims[slot].append(Hold(self.ledger, slot))

    def forget(self, slot: int, *, event: bool) -> None:
        if not self.claims[slot]:
            self.out_of_order += event and next(iter(self.claims)) != slot
            del self.claims[slot]

    @invariant()
    def the_counters_agree(self) -> None:
        stats = self.ledger.stats()
        assert stats.in_use == self.ledger.in_use == len(self.claims)
        assert stats.acquires == stats.returns + stats.in_use == self.acquires
        assert stats.misses == stats.exhausted == self.misses
        assert stats.out_of_order == self.out_of_order
        assert stats.high_water == self.high_water
        assert [self.ledger.holds[i] for i in range(COUNT)] == [len(self.claims.get(i, ())) for i in range(COUNT)]

    def teardown(self) -> None:
        for holds in self.claims.values():
            for hold in holds:
                self.ledger.release(hold)
        assert self.ledger.in_use == 0


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_ledger_needs_a_slot():
    with pytest.raises(SizingError, match="count of 0"):
        Ledger("test", 0)


def test_the_slot_returned_last_is_given_first():
    ledger = Ledger("test", 3)
    holds = [taken(ledger) for _ in range(3)]
    ledger.release(holds[1])
    ledger.release(holds[0])
    assert [ledger.take(), ledger.take(), ledger.take()] == [0, 1, None]


def test_waiting_threads_are_served_in_their_order():
    ledger, hold = one_taken()
    served: list[int] = []

    def wait(number: int) -> None:
        slot = ledger.take(timeout_s=None)
        served.append(number)
        ledger.release(Hold(ledger, slot or 0))

    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=wait, args=(number,)))
        threads[-1].start()
        until(lambda n=number: len(ledger._waiters) == n + 1)
    ledger.release(hold)
    for thread in threads:
        thread.join(10)
    assert served == [0, 1, 2, 3, 4]
    stats = ledger.stats()
    assert (stats.acquires, stats.in_use, stats.misses, stats.exhausted) == (6, 0, 5, 0)
    assert stats.wait_s > 0


def test_a_wait_for_one_slot_is_not_served_by_another():
    ledger = Ledger("test", 4, by_slot=True)
    first, second = (Hold(ledger, ledger.take(i) or 0) for i in (0, 1))
    got: list[int | None] = []
    thread = threading.Thread(target=lambda: got.append(ledger.take(1, None)))
    thread.start()
    until(lambda: ledger._waiters)
    ledger.release(first)
    assert ledger._waiters
    ledger.release(second)
    thread.join(10)
    assert got == [1]


def test_a_wait_that_ends_is_counted_and_leaves_nothing_behind():
    ledger, hold = one_taken()
    assert ledger.take(timeout_s=0.01) is None
    stats = ledger.stats()
    assert (stats.misses, stats.exhausted) == (1, 1)
    assert stats.wait_s >= 0.009
    ledger.release(hold)
    assert ledger.take() == 0


def test_many_threads_lose_nothing():
    ledger = Ledger("test", 3)
    owners = [0, 0, 0]
    clashes: list[int] = []

    def work() -> None:
        for _ in range(300):
            slot = ledger.take(timeout_s=None)
            assert slot is not None
            owners[slot] += 1
            if owners[slot] != 1:
                clashes.append(slot)
            owners[slot] -= 1
            ledger.release(Hold(ledger, slot))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    stats = ledger.stats()
    assert clashes == []
    assert (stats.acquires, stats.returns, stats.in_use) == (2400, 2400, 0)
    assert stats.high_water <= 3


def test_a_slot_that_the_collector_finds_comes_back_counted_and_quietly(caplog):
    ledger = Ledger("test", 1)
    hold: list[object] = [taken(ledger)]
    hold.append(hold)  # a cycle: only the collector finds it
    with caplog.at_level(logging.INFO):
        del hold
        gc.collect()
    assert caplog.text == ""
    stats = ledger.stats()
    assert (stats.in_use, stats.returns, stats.collected) == (0, 1, 1)


def test_a_log_handler_that_raises_loses_no_slot(monkeypatch: pytest.MonkeyPatch, caplog):
    class Raises(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("no log")

    raised: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: raised.append(unraisable.exc_value))
    caplog.set_level(logging.DEBUG, "detectors.pools.ledger")
    monkeypatch.setattr(logging.getLogger("detectors.pools.ledger"), "handlers", [Raises()])
    ledger, hold = one_taken()
    del hold
    assert [str(error) for error in raised] == ["no log"]
    assert ledger.in_use == 0


def test_a_hold_whose_clean_up_raises_when_it_is_collected_loses_no_slot(monkeypatch: pytest.MonkeyPatch):
    class Dirty(Hold):
        __slots__ = ()

        def _lost(self) -> None:
            raise RuntimeError("dirty")

    raised: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: raised.append(unraisable.exc_value))
    ledger = Ledger("test", 1)
    hold = Dirty(ledger, ledger.take() or 0)
    del hold
    assert [str(error) for error in raised] == ["dirty"]
    assert ledger.in_use == 0


@pytest.mark.parametrize("call", [Ledger.share, Ledger.hand_over, Ledger.release])
def test_a_call_that_is_refused_still_gives_back_what_was_collected_meanwhile(call):
    ledger = Ledger("test", 2)
    ended, hold = (taken(ledger) for _ in range(2))
    ledger.release(ended)
    got: list[int | None] = []
    other = taken(ledger)
    thread = threading.Thread(target=lambda: got.append(ledger.take(timeout_s=60)))
    thread.start()
    until(lambda: ledger._waiters)
    with ledger._lock:
        del hold  # as another thread may while this one is inside the call below
    assert not got
    with pytest.raises(PoolError):
        call(ledger, ended)
    thread.join(10)
    assert len(got) == 1
    ledger.release(other)


def test_a_hand_over_visits_one_waiter_of_many(monkeypatch: pytest.MonkeyPatch):
    async def main() -> None:
        ledger, hold = one_taken()
        tasks = [asyncio.create_task(ledger.take_async()) for _ in range(100)]
        await asyncio.sleep(0)
        assert len(ledger._waiters) == 100
        asked: list[object] = []
        is_free = Ledger._is_free
        monkeypatch.setattr(Ledger, "_is_free", lambda self, want: asked.append(want) or is_free(self, want))
        for task in tasks:
            ledger.release(hold)
            hold = Hold(ledger, await asyncio.wait_for(task, 10) or 0)
        assert len(asked) <= 200
        ledger.release(hold)

    asyncio.run(main())


def test_waiters_for_one_slot_are_served_in_their_order_and_the_limit_holds():
    ledger = Ledger("test", 4, by_slot=True, limit=2)
    holds = {slot: Hold(ledger, ledger.take(slot) or 0) for slot in (0, 1)}
    got: list[tuple[int, int | None]] = []
    threads = []
    for number, want in enumerate((1, 1, 3)):  # 3 is free, and waits for the limit
        threads.append(threading.Thread(target=lambda n=number, w=want: got.append((n, ledger.take(w, 60)))))
        threads[-1].start()
        until(lambda n=number: len(ledger._waiters) == n + 1)
    ledger.release(holds[0])
    until(lambda: got)
    assert got == [(2, 3)]
    ledger.release(holds[1])
    until(lambda: len(got) == 2)
    assert got[1] == (0, 1)
    ledger.release(Hold(ledger, 1))
    until(lambda: len(got) == 3)
    assert got[2] == (1, 1)
    assert ledger.in_use == 2
    for thread in threads:
        thread.join(10)


def test_the_collector_may_come_while_its_own_thread_holds_the_lock():
    ledger, hold = one_taken()
    with ledger._lock:
        del hold  # must not wait for the lock
        assert ledger.in_use == 1
    assert ledger.stats().in_use == 1  # seen on the way out of stats
    assert ledger.stats().in_use == 0


def test_a_waiter_gets_the_slot_of_a_lost_hold():
    ledger = Ledger("test", 1)
    holds = [taken(ledger)]
    got, thread = waiting_thread(ledger)
    holds.clear()
    thread.join(10)
    assert got == [0]


def test_what_a_clean_up_raises_frees_the_slot_first():
    ledger = Ledger("test", 1)

    def fail() -> None:
        raise RuntimeError("reset")

    hold = taken(ledger)
    with pytest.raises(RuntimeError, match="reset"):
        ledger.release(hold, cleanup=fail)
    assert ledger.take() == 0


def test_an_overwritten_slot_is_an_overrun():
    ledger = Ledger("test", 3, intact=lambda slot: slot != 1)
    for hold in [taken(ledger) for _ in range(3)]:
        ledger.release(hold)
    stats = ledger.stats()
    assert (stats.overruns, stats.returns) == (1, 3)


def test_growth_serves_the_waiters():
    ledger, hold = one_taken()
    got, thread = waiting_thread(ledger)
    ledger.grow(2)
    thread.join(10)
    assert got[0] in (1, 2)
    assert ledger.count == 3
    ledger.release(hold)
    with pytest.raises(PoolError, match="cannot grow"):
        Ledger("test", 2, by_slot=True).grow(1)


def test_tasks_and_threads_wait_in_one_queue():
    async def main() -> None:
        ledger, hold = one_taken()
        task = await waiting_task(ledger)
        release = threading.Thread(target=ledger.release, args=(hold,))
        release.start()
        assert await asyncio.wait_for(task, 10) == 0
        release.join()
        assert await ledger.take_async(0.01) is None
        assert ledger.stats().exhausted == 1

    asyncio.run(main())


def test_a_cancelled_task_leaves_the_queue():
    async def main() -> None:
        ledger, hold = one_taken()
        task = await waiting_task(ledger)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not ledger._waiters
        ledger.release(hold)
        assert ledger.in_use == 0

    asyncio.run(main())


def test_a_task_cancelled_after_it_was_given_a_slot_gives_it_back():
    async def main() -> None:
        ledger, hold = one_taken()
        task = await waiting_task(ledger)
        ledger.release(hold)  # given, but the task has not run yet
        assert ledger.in_use == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        stats = ledger.stats()
        assert (stats.in_use, stats.acquires, stats.returns) == (0, 2, 2)

    asyncio.run(main())


def test_a_task_whose_loop_is_closed_is_passed_over():
    ledger, hold = one_taken()
    loop = asyncio.new_event_loop()
    coroutine = ledger.take_async()
    task = loop.create_task(coroutine)
    loop.run_until_complete(asyncio.sleep(0))
    assert ledger._waiters
    loop.close()
    ledger.release(hold)
    stats = ledger.stats()
    assert (stats.acquires, stats.returns, stats.in_use) == (1, 1, 0)
    assert ledger.take() == 0
    # Silences what asyncio says of a task that never ended.
    task._log_destroy_pending = False  # type: ignore[attr-defined]
