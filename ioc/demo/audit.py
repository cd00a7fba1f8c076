"""Compares what was sent, what the PVs count, and what is on disk, byte by byte."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, Final

import numpy as np

from detectors.balance import balance
from detectors.buffer.checks import Progress
from detectors.buffer.image import Frame
from detectors.buffer.reader import BufferReader
from detectors.errors import BufferReadError
from detectors.stats import MonitorStatus, ReceiverStatus

FirstMismatch = Callable[[np.ndarray, int, int, bytes], int | None]
"""``first_mismatch(data, pulse_id, module_id, missing_mask)``: index of the first wrong pixel, or None."""

_WRONG_LINES: Final = 5


@dataclass(frozen=True, slots=True)
class Line:
    """One comparison."""

    what: str
    found: int
    expected: int

    @property
    def agrees(self) -> bool:
        """Whether both are the same."""
        return self.found == self.expected


@dataclass(slots=True)
class ReadBack:
    """The frames of one source found on disk."""

    frames: int = 0
    incomplete: int = 0
    bytes: int = 0
    """Pixels compared."""
    uncompared: int = 0
    """Frames whose pixels were not compared, since that took too long."""
    wrong: int = 0
    good: set[int] = field(default_factory=set)
    """Pulses whose frame is complete and as sent."""
    problems: list[str] = field(default_factory=list)
    """Descriptions of the first wrong frames."""

    def add_problem(self, text: str) -> None:
        """Count a wrong frame."""
        self.wrong += 1
        if self.wrong <= _WRONG_LINES:
            self.problems.append(text)


@dataclass(frozen=True, slots=True)
class Sent:
    """The frames of one source that were sent."""

    detector: Path
    """Folder of the detector."""
    module: str
    pulses: range
    packets: int
    """Packets of a complete frame."""
    first_frame: int | None = None
    """frame_index of the first pulse; None: not checked."""


def read_back(
    sent: Sent, mismatch: FirstMismatch, *, compare_s: float = inf, progress: Progress | None = None
) -> ReadBack:
    """Read every frame that the disk holds of the pulses sent, and compare it with its pattern.

    Pixels are compared for ``compare_s`` at most. ``progress`` is called with the frames read and the frames in all.
    """
    found = ReadBack()
    if not sent.pulses:
        return found
    try:
        reader = BufferReader(sent.detector, sent.module)
        held = reader.pulses(sent.pulses[0], sent.pulses[-1], sent.pulses.step)
    except BufferReadError as error:
        found.add_problem(str(error))
        return found
    until_s = time.monotonic() + compare_s
    for done, pulse_id in enumerate(map(int, held)):
        if progress:
            progress(done, len(held))
        try:
            frame = reader.read_frame(pulse_id)
        except BufferReadError as error:
            found.add_problem(str(error))
            continue
        found.frames += 1
        found.incomplete += frame.head.n_recv_packets < sent.packets
        if time.monotonic() > until_s:
            found.uncompared += 1
            continue
        found.bytes += frame.data.nbytes
        if problem := _problem(reader, frame, pulse_id, sent, mismatch):
            found.add_problem(f"{sent.module}: pulse {pulse_id}: {problem}")
        elif frame.head.n_recv_packets == sent.packets:
            found.good.add(pulse_id)
    return found


def _problem(reader: BufferReader, frame: Frame, pulse_id: int, sent: Sent, mismatch: FirstMismatch) -> str:
    """Return what is wrong with a frame; empty when it is as sent."""
    if frame.pulse_id != pulse_id:
        return f"found the record of pulse {frame.pulse_id}"
    if sent.first_frame is not None:
        index = sent.first_frame + sent.pulses.index(pulse_id)
        if frame.head.frame_index != index:
            return f"found frame_index {frame.head.frame_index}, expected {index}"
    mask = b""
    if frame.head.n_recv_packets != sent.packets:
        entry = reader.sidecar(pulse_id)
        if entry is None:
            return f"found {frame.head.n_recv_packets} packets of {sent.packets}, and no word of which are missing"
        mask = entry["missing"].tobytes()
        missing = int(np.unpackbits(np.frombuffer(mask, np.uint8)).sum())
        if frame.head.n_recv_packets + missing != sent.packets:
            return f"found {frame.head.n_recv_packets} packets and {missing} marked as missing, expected {sent.packets} together"
    at = mismatch(frame.data, pulse_id, frame.head.module_id, mask)
    return "" if at is None else f"pixel {at} is wrong"


def compare_module(name: str, sent: Mapping[str, Any], status: ReceiverStatus) -> list[Line]:
    """Return the comparisons of a module's sender with its receiver's counters.

    Frames are compared only when the run was never switched off: else some were not taken, and some cut in two.
    """
    packets, frames = status.packets, status.frames
    seen, taken = packets.received + packets.kernel_dropped, frames.complete + frames.incomplete
    lines = [Line(f"{name}: packets received or dropped by the kernel", seen, sent["packets"])]
    if not packets.disabled:
        # On a busy machine a sender may pause in the middle of a frame for longer than the receiver waits.
        lines.append(Line(f"{name}: packets lost", packets.lost, packets.kernel_dropped + packets.late))
        lines.append(Line(f"{name}: frames, complete or not", taken + frames.empty, sent["frames"]))
    lines.append(Line(f"{name}: frames delivered or dropped", frames.delivered + frames.exhausted, taken))
    return lines + _balance(name, status)


def compare_camera(
    name: str, sent: Mapping[str, Any], timing: Mapping[str, Any], before: int, status: MonitorStatus
) -> list[Line]:
    """Return the comparisons of camera and timing with the monitor's counters.

    ``before``: updates that had come before the camera began.
    """
    u = status.updates
    unmatched = u.too_old + u.expired + u.exhausted + u.missed + u.discarded_disabled - before
    return [
        Line(f"{name}: images received or missed", u.updates + u.missed - before, sent["images"]),
        Line(f"{name}: images matched or dropped", u.match + unmatched, sent["images"]),
        Line(f"{name}: timing events received or missed", u.l1_accepts + u.l1_missed, timing["l1_accepts"]),
        *_balance(name, status),
    ]


def compare_disk(name: str, status: ReceiverStatus | MonitorStatus, removed: int, found: ReadBack) -> list[Line]:
    """Return the comparisons of the disk output's counters with the frames there; ``removed`` frames were deleted since."""
    delivered = status.frames.delivered if isinstance(status, ReceiverStatus) else status.updates.placed
    disk = status.disk
    return [
        Line(f"{name}: frames written, dropped or not wanted", disk.written + disk.dropped + disk.disabled, delivered),
        Line(f"{name}: frames on disk", found.frames + removed, disk.written),
        Line(f"{name}: frames that differ from the pattern", found.wrong, 0),
    ]


def compare_restarted(name: str, status: ReceiverStatus | MonitorStatus, found: ReadBack) -> list[Line]:
    """Return the comparisons that are possible after the worker was restarted, with new counters."""
    return [*_balance(name, status), Line(f"{name}: frames that differ from the pattern", found.wrong, 0)]


def switched_off(status: ReceiverStatus | MonitorStatus, before: int) -> bool:
    """Return whether data arrived while the run or the disk output was off."""
    if isinstance(status, ReceiverStatus):
        return bool(status.packets.disabled or status.disk.disabled)
    return bool(status.updates.discarded_disabled > before or status.disk.disabled)


def _balance(name: str, status: ReceiverStatus | MonitorStatus) -> list[Line]:
    return [Line(f"{name}: balance of {what}", rest, 0) for what, rest in balance(status).items()]
