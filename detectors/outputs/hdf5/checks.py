"""Is an HDF5 file consistent with the buffer: checks that yield findings.

Of files in the layout ``/data/<detector>/{data,pulse_id,frame_index,daq_rec,is_good_frame}``, metadata shaped [n, 1].
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from detectors.buffer.checks import Checked, Progress
from detectors.buffer.file_checks import Inconsistency
from detectors.buffer.reader import BufferReader
from detectors.cluster.jobs import Job, Workers
from detectors.cluster.shared_data import SharedData
from detectors.errors import BufferReadError, HostError
from detectors.extras import hdf5_filters
from detectors.image_head import IMAGE_HEAD

METADATA: Final = IMAGE_HEAD.names or ()

HDF5_CHECKS: Final = (
    "hdf5_layout",
    "hdf5_order",
    "hdf5_pulse",
    "hdf5_metadata",
    "hdf5_data",
    "hdf5_missing",
)

_ROWS: Final = 100
"""Images that are compared at a time."""

_DAMAGED: Final = (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError, MemoryError)
"""What h5py raises for a file that is damaged."""
_MOST_IMAGES: Final = 1 << 32
"""Images that a file may claim to have; beyond, its metadata is not read."""

_PROBE: Final = """
import h5py, sys
with h5py.File(sys.argv[1], "r") as file:
    file.visititems(lambda name, found: None)
"""
_LAST_OWN_FILTER: Final = 255
"""Largest number of a filter that HDF5 itself has, H5Z_FILTER_RESERVED - 1; those above are plugins."""

PROBE_S: Final = 30.0
"""Longest time for HDF5 to open all objects of a file, s."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """The datasets of a file, checked to fit each other."""

    file: str
    data: h5py.Dataset
    metadata: dict[str, np.ndarray]

    def finding(self, check: str, pulse: int | None, message: str) -> Inconsistency:
        return Inconsistency(check, "", pulse, f"{self.file}: {message}")


def open_hdf5(path: Path) -> h5py.File:
    """Open a file that may be damaged. Raises BufferReadError when it cannot be."""
    # On some damaged files HDF5 loops without an end, which nothing in this process could stop.
    try:
        subprocess.run([sys.executable, "-c", _PROBE, str(path)], capture_output=True, timeout=PROBE_S, check=False)
    except subprocess.TimeoutExpired:
        raise BufferReadError(f"{path}: is damaged: HDF5 did not open all its objects within {PROBE_S:g} s") from None
    return _open(path)


def _open(path: Path) -> h5py.File:
    with suppress(HostError):  # a file that is not compressed needs none
        hdf5_filters()
    try:
        return h5py.File(path, "r")
    except _DAMAGED as error:
        raise BufferReadError(f"{path}: cannot be opened as HDF5: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """Return what h5py says, on one line."""
    return " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())


def check_hdf5(
    reader: BufferReader,
    file: h5py.File,
    limits: range,
    *,
    checked: Checked,
    progress: Progress | None,
    workers: Workers,
) -> Iterator[Inconsistency]:
    """Yield what is inconsistent between a file and the buffer; count images into ``checked``."""
    try:
        rows = _layout(reader, file)
    except _DAMAGED as error:
        name = Path(file.filename).name
        rows = Inconsistency("hdf5_layout", "", None, f"{name}: is damaged: {_reason(error)}")
    if isinstance(rows, Inconsistency):
        yield rows
        return
    pulses = rows.metadata["pulse_id"]
    for i in np.flatnonzero(pulses[1:] <= pulses[:-1]):
        yield rows.finding(
            "hdf5_order", int(pulses[i + 1]), f"row {i + 1} follows pulse {pulses[i]}, expected a later one"
        )
    wanted = np.flatnonzero((pulses >= limits.start) & (pulses < limits.stop))
    data, path = SharedData.of(reader), Path(file.filename).absolute()
    parts = [wanted[i : i + _ROWS] for i in range(0, len(wanted), _ROWS)]
    jobs = [
        Job(check_rows, (data, path, part), data.host(*reader.modules, turn=turn)) for turn, part in enumerate(parts)
    ]
    for part, findings in zip(parts, workers.map(jobs, progress), strict=True):
        checked.images += len(part)
        yield from findings
    yield from _missing(reader, rows, limits)


def check_rows(data: SharedData, path: Path, numbers: np.ndarray) -> list[Inconsistency]:
    """Return what is inconsistent in some rows of a file whose layout is right; runs on a worker."""
    reader = data.open()
    with _open(path) as file:
        rows = _layout(reader, file)
        if isinstance(rows, Inconsistency):
            return [rows]
        return [finding for number in numbers for finding in _row(reader, rows, int(number))]


def _layout(reader: BufferReader, file: h5py.File) -> _Rows | Inconsistency:
    """Return the datasets, or the finding that they are not of the documented layout."""
    name = Path(file.filename).name

    def wrong(message: str) -> Inconsistency:
        return Inconsistency("hdf5_layout", "", None, f"{name}: {message}")

    found: Any = file.get("data")
    groups = list(found) if isinstance(found, h5py.Group) else []
    wanted = reader.data_set.name
    detector = wanted if wanted in groups else groups[0] if len(groups) == 1 else None
    if detector is None:
        return wrong(f"found {', '.join(groups) or 'nothing'} in /data, expected {wanted}")
    group: Any = file[f"data/{detector}"]
    absent = [key for key in ("data", *METADATA) if not isinstance(group.get(key), h5py.Dataset)]
    if absent:
        return wrong(f"found no dataset {', '.join(absent)} in /data/{detector}")
    data = group["data"]
    count = data.shape[0] if data.shape else 0
    if count > _MOST_IMAGES:
        return wrong(f"found {count} images, expected at most {_MOST_IMAGES}")
    shapes = {key: group[key].shape for key in METADATA if group[key].shape != (count, 1)}
    if shapes:
        return wrong(f"found shapes {shapes}, expected {(count, 1)} as data has {count} images")
    types = {key: str(group[key].dtype) for key in METADATA if group[key].dtype.kind not in "biu"}
    if types:
        return wrong(f"found types {types}, expected integers")
    rows, *rest = reader.info.shape or (1,)
    expected = (len(reader.modules) * rows, *rest)
    if data.shape[1:] != expected or data.dtype != reader.info.layout.pixel_type:
        return wrong(
            f"found images of {list(data.shape[1:])} {data.dtype}, expected {list(expected)} {reader.info.dtype} "
            f"({len(reader.modules)} modules)"
        )
    if _has_plugin_filter(data):
        hdf5_filters()
    return _Rows(name, data, {key: group[key][:, 0] for key in METADATA})


def _has_plugin_filter(data: h5py.Dataset) -> bool:
    made: Any = data.id.get_create_plist()
    return any(made.get_filter(i)[0] > _LAST_OWN_FILTER for i in range(made.get_nfilters()))


def _row(reader: BufferReader, rows: _Rows, row: int) -> Iterator[Inconsistency]:
    """Check one image against the buffer."""
    pulse_id = int(rows.metadata["pulse_id"][row])
    try:
        there = rows.data[row]
    except _DAMAGED as error:
        yield rows.finding("hdf5_data", pulse_id, f"row {row}: cannot be read: {_reason(error)}")
        return
    try:
        image = reader.read_image(pulse_id, allow_missing=True)
    except BufferReadError as error:
        if not reader.missing and (rows.metadata["is_good_frame"][row] or there.any()):
            yield rows.finding("hdf5_pulse", pulse_id, f"row {row} has an image that the buffer does not have: {error}")
        return  # a pulse that was filled in: zeros, and marked bad
    head = reader.image_head(image)
    # A live capture knows of damage that a buffer without sidecars does not.
    damage_known = all(frame.head.expected_packets for frame in image.frames if frame)
    for name in METADATA:
        if reader.missing and name == "is_good_frame":
            continue  # only all modules together say that
        found, expected = int(rows.metadata[name][row]), int(getattr(head, name))
        if found != expected and (damage_known or found or name != "is_good_frame"):
            yield rows.finding("hdf5_metadata", pulse_id, f"row {row}: found {name} {found}, the buffer has {expected}")
    for module, part in zip(reader.modules, np.split(there, len(reader.modules)), strict=True):
        if module in reader.missing:
            part[...] = 0  # nothing to compare it with
    # Compared as bytes: a NaN equals itself.
    ours, theirs = (np.ascontiguousarray(a).view(np.uint8).reshape(-1) for a in (image.data, there))
    if not np.array_equal(ours, theirs):
        first = int(np.flatnonzero(ours != theirs)[0]) // image.data.itemsize
        place = ", ".join(str(int(n)) for n in np.unravel_index(first, image.data.shape))
        count = int((ours != theirs).reshape(-1, image.data.itemsize).any(axis=1).sum())
        yield rows.finding("hdf5_data", pulse_id, f"row {row}: {count} pixels differ from the buffer, first [{place}]")


def _missing(reader: BufferReader, rows: _Rows, limits: range) -> Iterator[Inconsistency]:
    """Check that no image of the file's own range is left out."""
    pulses = np.unique(rows.metadata["pulse_id"])
    seen = [module for module in reader.modules if module not in reader.missing]
    if len(pulses) < 2 or not seen:
        return
    # The file does not say its step: it is what its closest pulses are apart.
    first, last, step = int(pulses[0]), int(pulses[-1]), int(np.diff(pulses).min())
    held = reduce(np.intersect1d, (reader.pulses(first, last, step, module) for module in seen))
    for pulse_id in np.setdiff1d(held, pulses):
        if pulse_id in limits:
            yield rows.finding("hdf5_missing", int(pulse_id), "the buffer holds this image, the file does not")
