"""Which images of the buffer go into a file, and what is known of each: one vectorised pass over the headers."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

import numpy as np

from detectors.buffer.layout import relative_path
from detectors.buffer.reader import BufferReader
from detectors.errors import BufferReadError, ConfigError
from detectors.frame import FILE_MOD, FORMAT_MARKER, SIDECAR_PRESENT

LAST_PULSE: Final = (1 << 63) - 1
"""Largest pulse_id that a range may name."""

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
    """The images of a file, in order; row i of every array is image i."""

    pulse_id: np.ndarray
    """uint64[n]."""
    frame_index: np.ndarray
    """uint64[n], of the first module that holds the pulse; 0 where none does."""
    daq_rec: np.ndarray
    """uint64[n], likewise."""
    is_good_frame: np.ndarray
    """uint8[n]: 1 where all modules are there with all packets, and of the same trigger."""
    present: np.ndarray
    """bool[n, modules]: which modules hold the pulse."""

    def __len__(self) -> int:
        return len(self.pulse_id)


def select(reader: BufferReader, pulses: PulseRange, missing: Missing) -> Selection:
    """Return the images of a range: with ``skip`` those that any module holds, with ``fill`` all of it.

    Raises BufferReadError when the buffer holds nothing of the range, or a torn record.
    """
    blocks = [_Block(reader, pulses.within(first, first + FILE_MOD - 1)) for first in _files(reader, pulses)]
    selection = _join([block.selection() for block in blocks], len(reader.modules))
    held = selection.present.any(axis=1)
    if not held.any():
        raise BufferReadError(
            f"{reader.folder}: holds no pulse of {pulses.start} to {pulses.stop} in steps of {pulses.step}; "
            + _extents(reader)
        )
    return _filled(selection, pulses) if missing == "fill" else _rows(selection, np.flatnonzero(held))


class _Block:
    """The pulses of one file range, in all modules."""

    def __init__(self, reader: BufferReader, pulses: np.ndarray) -> None:
        shape = len(pulses), len(reader.modules)
        self._pulses = pulses
        self._present = np.zeros(shape, bool)
        self._frame_index = np.zeros(shape, np.uint64)
        self._daq_rec = np.zeros(shape, np.uint64)
        self._complete = np.zeros(shape, bool)
        for m, module in enumerate(reader.modules):
            if len(pulses) and reader.path(int(pulses[0]), module).exists():
                self._read(reader, m, module)

    def _read(self, reader: BufferReader, m: int, module: str) -> None:
        first = int(self._pulses[0])
        places = self._pulses % FILE_MOD
        whole = reader.metadata(first, module)
        headers, frames = whole[places], whole[places]["frame"]
        held = headers["marker"] == FORMAT_MARKER
        torn = np.flatnonzero((headers["marker"] != 0) & (~held | (frames["pulse_id"] != self._pulses)))
        if len(torn):
            reader.read_frame(int(self._pulses[torn[0]]), module)  # raises, with the place and the reason
            raise BufferReadError(f"{module}: torn record of pulse {self._pulses[torn[0]]}; it is being written")
        sidecar = reader.sidecars(first, module)[places]
        known = (sidecar["flags"] & SIDECAR_PRESENT) != 0
        expected = np.where(known, sidecar["expected_packets"], whole["frame"]["n_recv_packets"].max())
        self._present[:, m] = held
        self._frame_index[:, m] = frames["frame_index"]
        self._daq_rec[:, m] = frames["daq_rec"]
        self._complete[:, m] = held & (frames["n_recv_packets"] >= expected)

    def selection(self) -> Selection:
        first = self._present.argmax(axis=1)
        row = np.arange(len(self._pulses))
        held = self._present.any(axis=1)
        agree = (self._frame_index == self._frame_index[:, :1]).all(axis=1)
        return Selection(
            pulse_id=self._pulses,
            frame_index=np.where(held, self._frame_index[row, first], 0),
            daq_rec=np.where(held, self._daq_rec[row, first], 0),
            is_good_frame=(self._complete.all(axis=1) & agree).astype(np.uint8),
            present=self._present,
        )


def _files(reader: BufferReader, pulses: PulseRange) -> list[int]:
    """Return the first pulses of all files that may hold some of the range: a range can be far longer than the buffer."""
    numbers = {int(path.stem) for module in reader.modules for path in reader.files(module)}
    return sorted(n for n in numbers if n + FILE_MOD > pulses.start and n <= pulses.stop)


def _join(parts: list[Selection], modules: int) -> Selection:
    if not parts:
        none = np.zeros(0, np.uint64)
        return Selection(none, none, none, np.zeros(0, np.uint8), np.zeros((0, modules), bool))
    return Selection(*(np.concatenate([getattr(p, name) for p in parts]) for name in Selection.__slots__))


def _rows(selection: Selection, rows: np.ndarray) -> Selection:
    return Selection(*(getattr(selection, name)[rows] for name in Selection.__slots__))


def _filled(selection: Selection, pulses: PulseRange) -> Selection:
    n = len(pulses)
    rows = ((selection.pulse_id - np.uint64(pulses.start)) // np.uint64(pulses.step)).astype(np.int64)

    def spread(values: np.ndarray) -> np.ndarray:
        out = np.zeros((n, *values.shape[1:]), values.dtype)
        out[rows] = values
        return out

    return Selection(
        pulse_id=pulses.within(pulses.start, pulses.stop),
        frame_index=spread(selection.frame_index),
        daq_rec=spread(selection.daq_rec),
        is_good_frame=spread(selection.is_good_frame),
        present=spread(selection.present),
    )


def _extents(reader: BufferReader) -> str:
    found = {module: reader.extent(module) for module in reader.modules}
    return "; ".join(f"{m} holds {e[0]} to {e[1]}" if e else f"{m} holds nothing" for m, e in found.items())


def frame_file(reader: BufferReader, pulse_id: int, module: str) -> tuple[Path, int]:
    """Return the file, absolute, and the offset of a frame's pixels."""
    path = (reader.folder / module / relative_path(pulse_id)).absolute()
    return path, reader.info.record.file_offset(pulse_id) + reader.info.record.record_bytes - reader.info.data_bytes
