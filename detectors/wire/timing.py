"""Timing headers: what the timing system says of one event, 40 bytes, little-endian, one a datagram.

Modelled on LCLS-II's ``TimingHeader`` (pulse id, time stamp, service, event counter).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.errors import WireError
from detectors.run_state import Service

TIMING_MAGIC: Final = 0x4D495450  # "PTIM" in memory
TIMING_VERSION: Final = 1

TIMING_HEADER: Final = np.dtype(
    [
        ("magic", "<u4"),
        ("version", "u1"),
        ("service", "u1"),
        ("reserved", "<u2"),
        ("pulse_id", "<u8"),
        ("timestamp_ns", "<u8"),
        ("event_counter", "<u8"),
        ("env", "<u4"),
        ("readout_groups", "<u4"),
    ]
)
assert TIMING_HEADER.itemsize == 40


@dataclass(frozen=True, slots=True)
class TimingEvent:
    """One L1Accept or transition. ``timestamp_ns`` is POSIX time; ``event_counter`` counts every event sent."""

    service: Service
    pulse_id: int
    timestamp_ns: int
    event_counter: int
    env: int = 0
    readout_groups: int = 1


def encode_timing(event: TimingEvent) -> bytes:
    """Return the 40 bytes of one event."""
    header = np.zeros((), TIMING_HEADER)
    header["magic"], header["version"], header["service"] = TIMING_MAGIC, TIMING_VERSION, event.service
    header["pulse_id"], header["timestamp_ns"] = event.pulse_id, event.timestamp_ns
    header["event_counter"], header["env"] = event.event_counter, event.env
    header["readout_groups"] = event.readout_groups
    return header.tobytes()


def parse_timing(data: bytes | memoryview) -> TimingEvent:
    """Return the event in one datagram.

    Raises WireError for a wrong length, magic, version or service.
    """
    if len(data) != TIMING_HEADER.itemsize:
        raise WireError(f"timing header: found {len(data)} bytes, expected {TIMING_HEADER.itemsize}")
    header = np.frombuffer(data, TIMING_HEADER)[0]
    if header["magic"] != TIMING_MAGIC:
        raise WireError(f"timing header: found magic {int(header['magic']):#010x}, expected {TIMING_MAGIC:#010x}")
    if header["version"] != TIMING_VERSION:
        raise WireError(f"timing header: found version {header['version']}, expected {TIMING_VERSION}")
    try:
        service = Service(int(header["service"]))
    except ValueError:
        raise WireError(f"timing header: found service {header['service']}, expected one of LCLS-II's") from None
    return TimingEvent(
        service,
        int(header["pulse_id"]),
        int(header["timestamp_ns"]),
        int(header["event_counter"]),
        int(header["env"]),
        int(header["readout_groups"]),
    )
