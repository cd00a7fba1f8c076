"""The clock that simulated sources share: the n-th event's time and pulse follow from the epoch, not from who counts.

Sources started with the same epoch, in any order and in any process, give the same pulse the same time stamp.
"""

import os
import select
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import FrameType, TracebackType
from typing import Any, Final, Self

CATCH_UP: Final = 2
"""A source that fell behind sends at most this many times its rate, so that it does not overrun its receiver."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Event n: at ``epoch_ns + n * period_ns`` (POSIX, ns), of pulse ``first_pulse + n * pulse_step``."""

    epoch_ns: int
    period_ns: int
    first_pulse: int = 1
    pulse_step: int = 1
    shared: bool = True
    """Others use the same epoch: begin with the event that is due. Otherwise begin with event 0, whenever that is."""

    @classmethod
    def at_rate(cls, rate_hz: float, *, epoch_ns: int | None = None, first_pulse: int = 1, pulse_step: int = 1) -> Self:
        """Return the schedule of so many events a second; 0: as fast as they come. No epoch: now, not shared."""
        period_ns = round(1e9 / rate_hz) if rate_hz else 0
        if epoch_ns is None:
            return cls(time.time_ns(), period_ns, first_pulse, pulse_step, shared=False)
        return cls(epoch_ns, period_ns, first_pulse, pulse_step)

    def begun(self) -> Self:
        """Return the schedule with event 0 now, or as it is when the epoch is shared: for sources slow to come up."""
        return self if self.shared else replace(self, epoch_ns=time.time_ns())

    def time_ns(self, n: int) -> int:
        """Return the time of event n; without a rate events are 1 ns apart, so that no two stamps are equal."""
        return self.epoch_ns + n * (self.period_ns or 1)

    def pulse_id(self, n: int) -> int:
        """Return the pulse of event n."""
        return self.first_pulse + n * self.pulse_step

    def next_event(self, now_ns: int) -> int:
        """Return the event to begin with: with a shared epoch the first that is not past, and 0 before the epoch."""
        if not self.shared or not self.period_ns:
            return 0
        return max(0, -(-(now_ns - self.epoch_ns) // self.period_ns))


class Stop:
    """Context manager in which SIGTERM and SIGINT end waits instead of the process.

    The handler only writes to an eventfd: a threading.Event could be set while the same thread holds its lock. Outside
    the main thread, where handlers cannot be installed, only ``set`` ends it, and what ``watch`` was given.
    """

    def __init__(self) -> None:
        self._watched: list[int] = []
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._old: dict[int, Any] = {}

    def __enter__(self) -> Self:
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._old[number] = signal.signal(number, self._on_signal)
        except ValueError:
            self._old.clear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        os.close(self._descriptor)

    def set(self) -> None:
        """End all waits, now and to come. From any thread."""
        os.eventfd_write(self._descriptor, 1)

    def watch(self, descriptor: int) -> None:
        """Stop on input or end of file at a descriptor: a source ends with the process at the other end."""
        self._watched.append(descriptor)

    def read_line(self, descriptor: int) -> bytes | None:
        """Return the next line of input, or None when it is time to stop or the input has ended."""
        line = b""
        while not line.endswith(b"\n"):
            if self._descriptor in select.select([self._descriptor, descriptor], [], [])[0]:
                return None
            # Byte by byte: what follows the line is for others.
            got = os.read(descriptor, 1)
            if not got:
                return None
            line += got
        return line

    def wait(self, timeout_s: float) -> bool:
        """Wait for at most ``timeout_s``; return whether it is time to stop."""
        return bool(select.select([self._descriptor, *self._watched], [], [], max(0.0, timeout_s))[0])

    def wait_until(self, time_ns: int) -> bool:
        """Wait for a POSIX time; return whether it is time to stop."""
        return self.wait((time_ns - time.time_ns()) / 1e9)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.set()


def events(schedule: Schedule, stop: Stop, *, count: int | None = None, seconds: float | None = None) -> Iterator[int]:
    """Yield each event's number when its time has come, until ``count`` events or ``seconds`` are over, or the stop.

    The first is the schedule's next event. A late event is never left out: what follows comes faster until the
    schedule is met again.
    """
    first = schedule.next_event(time.time_ns())
    last_ns = 0
    end_ns = None if seconds is None else max(time.time_ns(), schedule.epoch_ns) + round(seconds * 1e9)
    n = first
    while count is None or n < first + count:
        due_ns = schedule.time_ns(n) if schedule.period_ns else 0
        if end_ns is not None and max(due_ns, time.time_ns()) >= end_ns:
            return
        if stop.wait_until(max(due_ns, last_ns + schedule.period_ns // CATCH_UP)):
            return
        last_ns = time.time_ns()
        yield n
        n += 1
