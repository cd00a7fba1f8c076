"""Timing headers: one event of the timing system, 40 bytes, little-endian, one in each datagram.

Modelled on LCLS-II's ``TimingHeader`` (pulse id, time stamp, service, event counter).
"""

import struct
from typing import Final, NamedTuple

from detectors.errors import WireError
from detectors.run_state import Service

TIMING_MAGIC: Final = 0x4D495450  # "PTIM" in memory
TIMING_VERSION: Final = 1

TIMING_HEADER: Final = struct.Struct("<IBBHQQQII")
"""Magic, version, service, 2 reserved bytes; then a TimingEvent's other fields."""
assert TIMING_HEADER.size == 40


class UnknownServiceError(WireError):
    """A timing header that is good but for its service; it has its place in the count of events."""

    def __init__(self, service: int, event_counter: int) -> None:
        super().__init__(f"timing header: found service {service}, expected one of LCLS-II's")
        self.event_counter = event_counter


class TimingEvent(NamedTuple):
    """One L1Accept or transition."""

    service: Service
    pulse_id: int
    timestamp_ns: int
    """POSIX time."""
    event_counter: int
    """Counts every event sent."""
    env: int = 0
    readout_groups: int = 1


def encode_timing(event: TimingEvent) -> bytes:
    """Return the 40 bytes of one event."""
    return TIMING_HEADER.pack(TIMING_MAGIC, TIMING_VERSION, event.service, 0, *event[1:])


def parse_timing(data: bytes | memoryview) -> TimingEvent:
    """Return the event in one datagram. Raises WireError for a wrong length, magic, version or service."""
    if len(data) != TIMING_HEADER.size:
        raise WireError(f"timing header: found {len(data)} bytes, expected {TIMING_HEADER.size}")
    magic, version, service, _, *numbers = TIMING_HEADER.unpack(data)
    if magic != TIMING_MAGIC:
        raise WireError(f"timing header: found magic {magic:#010x}, expected {TIMING_MAGIC:#010x}")
    if version != TIMING_VERSION:
        raise WireError(f"timing header: found version {version}, expected {TIMING_VERSION}")
    try:
        return TimingEvent(Service(service), *numbers)
    except ValueError:
        raise UnknownServiceError(service, numbers[2]) from None
