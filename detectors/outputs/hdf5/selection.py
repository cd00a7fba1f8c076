"""Which images of the buffer go into a file, and what is known of each: one vectorised pass over the headers."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from detectors.buffer.layout import LAST_PULSE
from detectors.buffer.reader import BufferReader
from detectors.buffer.registration import DetectorInfo
from detectors.buffer.sidecar import frame_heads
from detectors.errors import BufferReadError, ConfigError
from detectors.frame import FILE_MOD, FORMAT_MARKER, FRAME_HEAD
from detectors.image_head import IMAGE_HEAD, image_heads

Missing = Literal["skip", "fill"]


@dataclass(frozen=True, slots=True)
class PulseRange:
    """``start, start + step, ... <= stop``. Raises ConfigError with every mistake."""

    start: int
    stop: int
    step: int = 1

    def __post_init__(self) -> None:
        found: list[str] = []
        if not 0 <= self.start <= LAST_PULSE:
            found.append(f"start: found {self.start}, expected 0 to {LAST_PULSE}")
        if not self.start <= self.stop <= LAST_PULSE:
            found.append(f"stop: found {self.stop}, expected {self.start} (the start) to {LAST_PULSE}")
        if self.step < 1:
            found.append(f"step: found {self.step}, expected at least 1")
        if found:
            raise ConfigError(*found)

    def __len__(self) -> int:
        return (self.stop - self.start) // self.step + 1

    def within(self, first: int, last: int) -> np.ndarray:
        """Return the pulses of the range from ``first`` to ``last``, uint64."""
        first = max(self.start, first)
        first += (self.start - first) % self.step
        return np.arange(first, min(self.stop, last) + 1, self.step, dtype=np.uint64)

    def parts(self, count: int) -> Iterator["PulseRange"]:
        """Yield the range in at most ``count`` consecutive ranges of about the same length."""
        bounds = np.linspace(0, len(self), min(count, len(self)) + 1).astype(int).tolist()
        for begin, end in pairwise(bounds):
            yield PulseRange(self.start + begin * self.step, self.start + (end - 1) * self.step, self.step)


@dataclass(frozen=True, slots=True)
class Selection:
    """The images of a file, in order; row i of both arrays is image i."""

    heads: np.ndarray
    """IMAGE_HEAD[n]; all but the pulse_id is 0 where no module holds the pulse."""
    present: np.ndarray
    """bool[n, modules]: which modules hold the pulse."""

    def __len__(self) -> int:
        return len(self.heads)

    @property
    def pulses(self) -> np.ndarray:
        """uint64[n]."""
        return self.heads["pulse_id"]


def select(reader: BufferReader, pulses: PulseRange, missing: Missing) -> Selection:
    """Return the images of a range: with ``skip`` those that any module holds, with ``fill`` all of it.

    Raises BufferReadError when the buffer holds nothing of the range, or a torn record.
    """
    parts = [_read(reader, pulses.within(n, n + FILE_MOD - 1)) for n in reader.file_numbers(pulses.start, pulses.stop)]
    heads = np.concatenate([np.zeros(0, IMAGE_HEAD), *(heads for heads, _ in parts)])
    present = np.concatenate([np.zeros((0, len(reader.modules)), bool), *(present for _, present in parts)])
    held = present.any(axis=1)
    if not held.any():
        raise BufferReadError(
            f"{reader.data_set.path}: holds no pulse of {pulses.start} to {pulses.stop} in steps of {pulses.step}; "
            + reader.extents_text()
        )
    if missing == "skip":
        return Selection(heads[held], present[held])
    rows = (heads["pulse_id"] - np.uint64(pulses.start)) // np.uint64(pulses.step)
    every = Selection(np.zeros(len(pulses), IMAGE_HEAD), np.zeros((len(pulses), len(reader.modules)), bool))
    every.heads["pulse_id"] = pulses.within(pulses.start, pulses.stop)
    every.heads[rows], every.present[rows] = heads, present
    return every


def _read(reader: BufferReader, pulses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return IMAGE_HEAD[n] and bool[n, modules] of pulses that lie in one file of each module."""
    frames = np.zeros((len(pulses), len(reader.modules)), FRAME_HEAD)
    held = np.zeros(frames.shape, bool)
    for m, module in enumerate(reader.modules):
        if len(pulses) and reader.has_file(int(pulses[0]), module):
            held[:, m], frames[:, m] = _frames(reader, pulses, module)
    return image_heads(pulses, frames, held), held


def _frames(reader: BufferReader, pulses: np.ndarray, module: str) -> tuple[np.ndarray, np.ndarray]:
    """Return where a module holds a record, bool[n], and the heads, FRAME_HEAD[n]. Raises BufferReadError for a torn one."""
    first, places = int(pulses[0]), pulses % FILE_MOD
    headers = reader.metadata(first, module)
    heads = frame_heads(headers["frame"], reader.sidecars(first, module))[places]
    markers = headers["marker"][places]
    held = markers == FORMAT_MARKER
    torn = pulses[(markers != 0) & (~held | (heads["pulse_id"] != pulses))]
    if len(torn):
        reader.read_frame(int(torn[0]), module)  # raises, with the place and the reason
        raise BufferReadError(f"{module}: torn record of pulse {torn[0]}; it is being written")
    return held, heads


def pixel_offset(info: DetectorInfo, pulse_id: int) -> int:
    """Return where the pixels of a frame begin in its file."""
    return info.record.file_offset(pulse_id) + info.record.record_bytes - info.data_bytes
