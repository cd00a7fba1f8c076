import os
import signal
import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from sim.clock import Schedule, Stop, events


@given(st.integers(0, 2**62), st.integers(1, 10**10), st.integers(-(10**9), 10**12))
def test_the_next_event_is_the_first_that_is_not_past(epoch, period, ahead):
    schedule = Schedule(epoch, period)
    now = epoch + ahead
    n = schedule.next_event(now)
    assert schedule.time_ns(n) >= now
    assert n == 0 or schedule.time_ns(n - 1) < now


def test_sources_of_one_epoch_agree_on_time_and_pulse():
    fast = Schedule.at_rate(100, epoch_ns=10**18, first_pulse=5000)
    slow = Schedule.at_rate(10, epoch_ns=10**18, first_pulse=5000, pulse_step=10)
    for n in range(50):
        assert fast.time_ns(10 * n) == slow.time_ns(n) == 10**18 + n * 100_000_000
        assert fast.pulse_id(10 * n) == slow.pulse_id(n) == 5000 + 10 * n


def test_a_schedule_of_its_own_begins_with_event_0():
    schedule = Schedule.at_rate(1000)
    assert schedule.next_event(time.time_ns() + 10**12) == 0
    with Stop() as stop:
        assert list(events(schedule, stop, count=3)) == [0, 1, 2]


def test_without_a_rate_events_come_at_once_with_stamps_of_their_own():
    schedule = Schedule.at_rate(0)
    with Stop() as stop:
        numbers = list(events(schedule, stop, count=1000))
    assert numbers == list(range(1000))
    assert len({schedule.time_ns(n) for n in numbers}) == 1000


def test_events_never_come_early_and_late_ones_are_not_left_out():
    period = 2_000_000
    schedule = Schedule(time.time_ns() - 5 * period, period, shared=False)
    with Stop() as stop:
        seen = [(n, time.time_ns()) for n in events(schedule, stop, count=20)]
    assert [n for n, _ in seen] == list(range(20))
    assert all(at >= schedule.time_ns(n) for n, at in seen)


def test_a_time_limit_ends_the_events():
    with Stop() as stop:
        schedule = Schedule(time.time_ns() + 20_000_000, 1_000_000)
        numbers = list(events(schedule, stop, seconds=0.01))
    # Fewer when this process was kept waiting: then the time was over before.
    assert numbers == list(range(len(numbers)))
    assert len(numbers) <= 10


def test_a_signal_ends_a_long_wait_and_the_old_handlers_return():
    before = signal.getsignal(signal.SIGTERM)
    with Stop() as stop:
        threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGTERM)).start()
        assert stop.wait(30)
        assert stop.wait_until(time.time_ns() + 10**12)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_stop_of_another_thread_ends_the_events():
    with Stop() as stop:
        seen = []
        for n in events(Schedule.at_rate(1000), stop):
            seen.append(n)
            if n == 5:
                thread = threading.Thread(target=stop.set)
                thread.start()
                thread.join()
        assert seen == list(range(6))
