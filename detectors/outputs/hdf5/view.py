"""An HDF5 file without a pixel in it: its images are the frames in the buffer's own files.

A contiguous dataset may lie in segments of other files: ``(file, offset, bytes)`` of each frame. One dataset holds about
2,700 of them, since the list must fit one object header message of 64 KiB; longer ranges, and several modules, are joined
by a virtual dataset. Plain h5py opens both. The buffer must stay where it is: retention takes the images with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import h5py
import numpy as np

from detectors.buffer.layout import data_file
from detectors.buffer.reader import BufferReader
from detectors.errors import ConfigError
from detectors.outputs.hdf5.schema import DATA, FileLayout, atomic_file, link_images, write_metadata
from detectors.outputs.hdf5.selection import Missing, PulseRange, Selection, pixel_offset, select

SEGMENTS: Final = 2700
"""Frames in one dataset: 24 bytes each in a message of at most 65,535."""


@dataclass(frozen=True, slots=True)
class _Run:
    """Consecutive images whose frames lie in consecutive places of one dataset."""

    row: int
    place: int
    count: int


def write_view(reader: BufferReader, pulses: PulseRange, path: Path, *, missing: Missing = "skip") -> int:
    """Describe the images of a range in a new file, and return how many.

    Raises ConfigError, BufferReadError and HostError as ``write_file`` does.
    """
    if reader.info.layout.is_packed:
        raise ConfigError(
            f"view: {reader.data_set.path} holds packed pixels, {reader.info.dtype}; write a copy, which unpacks them"
        )
    layout = FileLayout.of(reader.data_set.name, reader.modules, reader.info)
    selection = select(reader, pulses, missing)
    frames = _Frames(reader, layout, selection)
    with atomic_file(path, libver=("earliest", "v110")) as (file, _):
        group = write_metadata(file, layout, selection)
        if len(layout.modules) == 1 and len(selection) <= SEGMENTS and selection.present.all():
            data = frames.external(group, DATA, 0, np.arange(len(selection)))
        else:
            data = frames.virtual(group)
        link_images(file, data)
    return len(selection)


@dataclass(frozen=True, slots=True)
class _Frames:
    """The frames of a selection, where they lie."""

    reader: BufferReader
    layout: FileLayout
    selection: Selection

    def external(self, group: h5py.Group, name: str, m: int, rows: np.ndarray) -> h5py.Dataset:
        """Return a dataset of module ``m``'s frames in ``rows``, which stay where the buffer has them."""
        layout, module = self.layout, self.layout.modules[m]
        size, files = layout.frame_bytes, dict[int, str]()
        segments: list[tuple[str, int, int]] = []
        for pulse_id in self.selection.pulses[rows].tolist():
            number = data_file(pulse_id)
            if number not in files:
                files[number] = str(self.reader.path(pulse_id, module).absolute())
            segments.append((files[number], pixel_offset(self.reader.info, pulse_id), size))
        return group.create_dataset(name, (len(rows), *layout.module_shape), layout.dtype, external=segments)

    def virtual(self, group: h5py.Group) -> h5py.Dataset:
        """Return the images joined from datasets of each module's frames; what no module has reads as zero."""
        layout, selection = self.layout, self.selection
        images = h5py.VirtualLayout((len(selection), *layout.image_shape), layout.dtype)
        height = layout.module_shape[0]
        frames = group.create_group("frames")
        for m, module in enumerate(layout.modules):
            held = np.flatnonzero(selection.present[:, m])
            for number, start in enumerate(range(0, len(held), SEGMENTS)):
                rows = held[start : start + SEGMENTS]
                source = self.external(frames, f"{module}/{number:04}", m, rows)
                virtual = h5py.VirtualSource(".", source.name, source.shape, layout.dtype)
                for run in _runs(rows):
                    place = slice(m * height, (m + 1) * height)
                    images[run.row : run.row + run.count, place] = virtual[run.place : run.place + run.count]
        return group.create_virtual_dataset(DATA, images, fillvalue=0)


def _runs(rows: np.ndarray) -> Iterator[_Run]:
    """Yield the runs of consecutive numbers in ``rows``, increasing."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    for place, part in zip((0, *breaks.tolist()), np.split(rows, breaks), strict=True):
        yield _Run(int(part[0]), place, len(part))
