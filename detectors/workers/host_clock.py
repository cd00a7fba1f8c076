"""What the kernel knows of this host's clock: whether a service keeps it, and how far from the true time it may be.

It is the same for NTP and PTP: chronyd, ntpd and systemd-timesyncd tell the kernel, and so does phc2sys, which sets the clock by
that of a PTP network card.
"""

import ctypes
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_STA_UNSYNC: Final = 0x40
_US_PER_MS: Final = 1000


class ClockState(StrEnum):
    """Whether a service keeps the clock."""

    UNKNOWN = "Unknown"
    SYNCHRONISED = "Synchronised"
    UNSYNCHRONISED = "Unsynchronised"


@dataclass(frozen=True, slots=True)
class HostClock:
    """The answer to the command ``clock``."""

    time_ns: int
    """The time now, by this clock."""
    state: str = ClockState.UNKNOWN
    error_ms: float = 0.0
    """The clock is no further from the true time than this (``maxerror``). It grows by 0.5 ms a second until the service sets it
    anew; at 16 s the clock counts as unsynchronised. 0 when the kernel does not say it."""
    tai_offset_s: int = 0
    """TAI minus UTC; 0 where no service has told the kernel."""


class _Timex(ctypes.Structure):
    """``struct timex`` of sys/timex.h."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time", ctypes.c_long * 2),
        ("tick", ctypes.c_long),
        ("ppsfreq", ctypes.c_long),
        ("jitter", ctypes.c_long),
        ("shift", ctypes.c_int),
        ("stabil", ctypes.c_long),
        ("jitcnt", ctypes.c_long),
        ("calcnt", ctypes.c_long),
        ("errcnt", ctypes.c_long),
        ("stbcnt", ctypes.c_long),
        ("tai", ctypes.c_int),
        ("reserved", ctypes.c_int * 11),
    )


_TIMEX_BYTES: Final = 208
assert ctypes.sizeof(_Timex) == _TIMEX_BYTES


def read_clock() -> HostClock:
    """Return the time and what the kernel says of it. Changes nothing: ``modes`` is 0."""
    timex = _Timex()
    failed = ctypes.CDLL(None).adjtimex(ctypes.byref(timex)) < 0  # a sandbox may forbid it
    now_ns = time.time_ns()
    if failed:
        return HostClock(now_ns)
    state = ClockState.UNSYNCHRONISED if timex.status & _STA_UNSYNC else ClockState.SYNCHRONISED
    return HostClock(now_ns, state, timex.maxerror / _US_PER_MS, timex.tai)
