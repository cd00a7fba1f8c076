"""What ends a wait of a data thread: a ring always, a descriptor only where it is waited for."""

import os
import threading
import time
from collections.abc import Iterator

import pytest

from detectors.workers.wake import Wake


@pytest.fixture
def wake() -> Iterator[Wake]:
    found = Wake()
    yield found
    found.close()


def test_a_ring_ends_a_rest(wake: Wake) -> None:
    """A receiver that lets packets gather takes a command at once."""
    ringer = threading.Timer(0.01, wake.ring)
    ringer.start()
    wake.rest(60.0)  # the test's own time-out is shorter
    ringer.join()


def test_data_does_not_end_a_rest(wake: Wake) -> None:
    """It is what is waited for: each look would cost as much for one packet as for a batch."""
    reader, writer = os.pipe()
    try:
        wake.watch(reader)
        os.write(writer, b"x")
        began = time.monotonic()
        wake.rest(0.02)
        assert time.monotonic() - began >= 0.02
        wake.wait(60.0)
    finally:
        os.close(reader)
        os.close(writer)


def test_what_is_not_watched_any_more_ends_no_wait(wake: Wake) -> None:
    reader, writer = os.pipe()
    try:
        wake.watch(reader)
        os.write(writer, b"x")
        wake.unwatch(reader)
        began = time.monotonic()
        wake.wait(0.02)
        assert time.monotonic() - began >= 0.02
    finally:
        os.close(reader)
        os.close(writer)


def test_a_wait_that_nothing_ended_was_in_vain(wake: Wake) -> None:
    wake.wait(0.0)
    assert wake.in_vain
    wake.ring()
    wake.wait(60.0)
    assert not wake.in_vain
