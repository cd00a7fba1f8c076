import time
from pathlib import Path
from typing import Any

import pytest

from detectors.runtime_names import RuntimeNames
from detectors.workers import host_clock
from detectors.workers.commands import request
from detectors.workers.host_clock import read_clock
from tests.support.fake_part import FakePart, running

KEPT, FREE = 0x2001, 0x2041
"""STA_PLL and STA_NANO; with STA_UNSYNC."""


def kernel(monkeypatch: pytest.MonkeyPatch, result: int = 0, **fields: int) -> list[int]:
    """Let the kernel answer so; return the modes it is called with."""
    modes: list[int] = []

    class Library:
        @staticmethod
        def adjtimex(reference: Any) -> int:
            timex = reference._obj
            modes.append(timex.modes)
            for name, value in fields.items():
                setattr(timex, name, value)
            return result

    def library(_: None) -> type[Library]:
        return Library

    monkeypatch.setattr(host_clock.ctypes, "CDLL", library)
    return modes


def test_a_clock_that_a_service_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    modes = kernel(monkeypatch, status=KEPT, maxerror=1234, tai=37)
    clock = read_clock()
    assert (clock.state, clock.error_ms, clock.tai_offset_s) == ("Synchronised", 1.234, 37)
    assert modes == [0]  # it was read, and not set


def test_a_clock_that_runs_free(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel(monkeypatch, result=5, status=FREE, maxerror=16_000_000)
    assert (read_clock().state, read_clock().error_ms) == ("Unsynchronised", 16_000.0)


def test_a_kernel_that_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel(monkeypatch, result=-1, status=KEPT, maxerror=7)
    assert (read_clock().state, read_clock().error_ms) == ("Unknown", 0.0)


def test_this_kernel_is_understood() -> None:
    """The bound of the error grows until it is 16 s, and then the clock is unsynchronised."""
    clock = read_clock()
    assert 0 <= clock.error_ms <= 16_000.5
    assert (clock.error_ms >= 16_000) <= (clock.state == "Unsynchronised")


def test_every_worker_tells_its_clock(short_runtime_dir: Path) -> None:
    with running(FakePart(), RuntimeNames("T:CLOCK:")) as command:
        before_ns = time.time_ns()
        answer = request(command, "clock", 5.0)
        assert before_ns <= answer["time_ns"] <= time.time_ns()
        assert answer["state"] == read_clock().state
        assert set(answer) == {"time_ns", "state", "error_ms", "tai_offset_s"}
