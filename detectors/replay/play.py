"""The replay itself: which pulses, in which order, how fast. Where they go is a ``Target``."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Protocol

import numpy as np

from detectors.buffer.image import Image
from detectors.buffer.reader import BufferReader
from detectors.errors import BufferReadError

log = logging.getLogger(__name__)


class Target(Protocol):
    """What a replay sends to."""

    def ready(self) -> None:
        """Wait for the receivers. Raises HostError when there is none in time."""
        ...

    def send(self, image: Image, period_s: float) -> int:
        """Send all that is recorded of one pulse, spread over ``period_s`` at most; return the messages or packets sent.

        Raises HostError when it cannot be sent.
        """
        ...

    def close(self) -> None:
        """Send what is queued and close."""
        ...


@dataclass(slots=True)
class ReplayReport:
    """What was sent."""

    pulses: int = 0
    frames: int = 0
    messages: int = 0
    """Packets, or ZMQ or PV messages."""
    unreadable: int = 0
    """Pulses passed over because nothing of them can be read."""
    torn: int = 0
    """Frames left out of the pulses sent because their records are torn; each is named in the log."""
    late: int = 0
    """Pulses sent later than their time: the rate was too high."""
    elapsed_s: float = 0.0


def replay(
    reader: BufferReader,
    target: Target,
    *,
    start: int,
    stop: int,
    step: int = 1,
    rate_hz: float = 0.0,
    ended: threading.Event | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ReplayReport:
    """Send every recorded pulse of ``start, start + step, ... <= stop`` that any module holds, ``rate_hz`` a second.

    Rate 0: as fast as the target takes them. ``ended`` stops it between two pulses. ``progress``
    is called with the pulses done and the pulses in all.
    """
    ended = ended or threading.Event()
    report = ReplayReport()
    pulses = _recorded(reader, start, stop, step)
    period_s = 1 / rate_hz if rate_hz else 0.0
    target.ready()
    begun = time.monotonic()
    for n, pulse_id in enumerate(pulses):
        due_s = begun + n * period_s - time.monotonic()
        if ended.wait(due_s) if due_s > 0 else ended.is_set():
            break
        if progress:
            progress(n, len(pulses))
        report.late += bool(period_s) and -due_s > period_s
        try:
            image = reader.read_image(int(pulse_id), allow_missing=True)
        except BufferReadError as error:
            log.warning("%s", error)
            report.unreadable += 1
            continue
        for reason in image.unreadable:
            log.warning("%s", reason)
        report.torn += len(image.unreadable)
        report.messages += target.send(image, period_s)
        report.pulses += 1
        report.frames += sum(frame is not None for frame in image.frames)
    report.elapsed_s = time.monotonic() - begun
    return report


def _recorded(reader: BufferReader, start: int, stop: int, step: int) -> np.ndarray:
    """Return the pulses of which any module has a record, also a torn one, in order. Raises BufferReadError for none."""
    pulses = reduce(np.union1d, (reader.records(start, stop, step, module) for module in reader.modules))
    if not len(pulses):
        raise BufferReadError(
            f"{reader.data_set.path}: found no pulse from {start} to {stop}, expected at least one; {reader.extents_text()}"
        )
    return pulses
