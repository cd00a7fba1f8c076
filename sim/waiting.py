"""Waiting for something to become true, with a failure that shows what it was instead."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PERIOD_S = 0.005


def until(get: Callable[[], T], good: Callable[[T], object] = bool, timeout_s: float = 20.0) -> T:
    """Return the first value of ``get()`` that ``good`` accepts; fail with the last one after ``timeout_s``."""
    end = time.monotonic() + timeout_s
    while not good(value := get()):
        assert time.monotonic() < end, f"after {timeout_s:g} s still {value!r}"
        time.sleep(PERIOD_S)
    return value
