from collections.abc import Iterator

import pytest

from detectors.workers.monitor.inbox import Inbox
from detectors.workers.monitor.messages import Taken
from detectors.workers.wake import Wake


class CountingWake(Wake):
    """Counts rings and rests."""

    def __init__(self) -> None:
        super().__init__()
        self.rings = self.rests = 0

    def ring(self) -> None:
        self.rings += 1
        super().ring()

    def rest(self, timeout_s: float) -> None:
        self.rests += 1
        super().rest(timeout_s)


@pytest.fixture
def wake() -> Iterator[CountingWake]:
    wake = CountingWake()
    yield wake
    wake.close()


@pytest.fixture
def inbox(wake: CountingWake) -> Inbox:
    inbox = Inbox()
    inbox.open(wake)
    return inbox


def test_inputs_come_out_in_their_order(inbox: Inbox) -> None:
    inputs = [Taken(n) for n in range(5)]
    for one in inputs:
        inbox.post(one)
    assert inbox.peek() == tuple(inputs)
    assert inbox.take() == inputs
    assert inbox.take() == []


def test_only_one_that_listens_is_woken(inbox: Inbox, wake: CountingWake) -> None:
    inbox.gather(64)
    inbox.take()
    inbox.post(Taken(1))
    assert wake.rings == 0
    assert not inbox.listen()  # so it does not wait, and takes it
    inbox.take()
    assert inbox.listen()
    inbox.post(Taken(2))
    assert wake.rings == 1


def test_what_comes_before_it_is_open_is_not_lost(wake: CountingWake) -> None:
    inbox = Inbox()
    inbox.post(Taken(1))
    inbox.open(wake)
    assert not inbox.listen()


def test_inputs_that_come_fast_are_left_to_gather(inbox: Inbox, wake: CountingWake) -> None:
    for n in range(2):
        inbox.post(Taken(n))
        inbox.take()
    inbox.gather(64)
    assert wake.rests == 1
    inbox.take()  # nothing more has come
    inbox.gather(64)
    assert wake.rests == 1


@pytest.mark.parametrize(("slots", "enough"), [(2, 1), (4, 1), (16, 4), (32, 8), (4096, 8)])
def test_it_is_woken_when_enough_have_gathered(inbox: Inbox, wake: CountingWake, slots: int, enough: int) -> None:
    inbox.gather(slots)
    inbox.take()
    for n in range(enough - 1):
        inbox.post(Taken(n))
    assert wake.rings == 0
    inbox.post(Taken(enough))
    assert wake.rings == 1
