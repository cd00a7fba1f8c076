"""The documented layout of an HDF5 file, all but the pixels.

::

    /data/<detector>/data            [n, modules * rows, cols], one chunk an image
    /data/<detector>/pulse_id        [n, 1]; likewise frame_index, daq_rec, is_good_frame
    /data/<detector>/module_mask     [n, 1 for each 64 modules]: bit m is set when module m is in the image
    /data/<detector>/missing_packets [n, modules, 64], of live captures: bit p % 8 of byte p // 8 is set when packet p is missing
    /general/detector_name
    /entry/data/data                 the same dataset as data, where NeXus viewers look for it

Source: the writer of sf-buffer; NeXus (NXentry, NXdata).
"""

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from detectors.buffer.fields import Field
from detectors.buffer.registration import DetectorInfo, software_version
from detectors.errors import HostError
from detectors.image_head import IMAGE_HEAD
from detectors.outputs.hdf5.selection import Selection

DATA: Final = "data"

_UNITS: Final = {
    DATA: "adu",
    "pulse_id": "",
    "frame_index": "",
    "daq_rec": "",
    "is_good_frame": "",
    "module_mask": "",
    "missing_packets": "",
}
"""``units`` attribute of each dataset: raw pixels are what the converter gave; the others are numbers without unit."""

_LONG_NAMES: Final = {
    DATA: "raw images",
    "pulse_id": "machine pulse number",
    "frame_index": "trigger count of the detector",
    "daq_rec": "word of the detector's debug field",
    "is_good_frame": "1: all modules and packets are there, of one trigger, undamaged",
    "module_mask": "bit m: module m is in the image",
    "missing_packets": "of each module, bit p % 8 of byte p // 8: packet p is missing",
}


@dataclass(frozen=True, slots=True)
class FileLayout:
    """What a file holds, for every way to write it."""

    detector: str
    modules: tuple[str, ...]
    module_shape: tuple[int, ...]
    """Shape of one module's frame, slowest dimension first."""
    dtype: np.dtype
    """Pixel type, little-endian."""
    fields: tuple[Field, ...] = ()
    """Arrays that a frame is made of, where several PVs are a detector."""

    @classmethod
    def of(cls, detector: str, modules: tuple[str, ...], info: DetectorInfo) -> "FileLayout":
        """Return the layout for the frames of a buffer."""
        return cls(detector, modules, info.shape or (1,), info.layout.pixel_type, info.fields)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Modules joined along the slowest dimension."""
        rows, *rest = self.module_shape
        return (len(self.modules) * rows, *rest)

    @property
    def frame_bytes(self) -> int:
        """Pixels of one module's frame, bytes."""
        return int(np.prod(self.module_shape)) * self.dtype.itemsize

    @property
    def image_bytes(self) -> int:
        """Pixels of one image, bytes."""
        return self.frame_bytes * len(self.modules)


def check_new(path: Path) -> None:
    """Raise HostError when a file is there already."""
    if path.exists():
        raise HostError(f"{path}: is there already; remove it or choose another name")


@contextmanager
def atomic_file(path: Path, **options: Any) -> Generator[tuple[h5py.File, Path]]:
    """Open a new HDF5 file beside ``path``; it appears there, whole, when the block ends without an error.

    The block may close the file itself and go on with its path, the second value. Raises HostError when the file is
    there already or cannot be written.
    """
    check_new(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        file = h5py.File(beside, "w", **options)
        try:
            yield file, beside
        finally:
            file.close()
        beside.rename(path)
    except OSError as error:
        raise HostError(
            f"{path}: cannot be written: {error.strerror or error}; check the folder, its permissions and its space"
        ) from None
    finally:
        beside.unlink(missing_ok=True)


def write_metadata(file: h5py.File, layout: FileLayout, selection: Selection) -> h5py.Group:
    """Write all of a file but its images, and return the group of the detector."""
    group = make_group(file, layout)
    for name in IMAGE_HEAD.names or ():
        describe(group.create_dataset(name, data=selection.heads[name].reshape(-1, 1)))
    describe(group.create_dataset("module_mask", data=module_masks(selection.present)))
    return group


def make_group(file: h5py.File, layout: FileLayout) -> h5py.Group:
    """Write what does not depend on the images, and return the group of the detector."""
    file.attrs["default"] = "entry"
    file.attrs["creator"] = f"pebbledaq {software_version()}".strip()
    group = file.create_group(f"data/{layout.detector}")
    group.attrs["modules"] = list(layout.modules)
    group.attrs["module_shape"] = layout.module_shape
    group.attrs["software_version"] = software_version()
    group.attrs["geometry"] = (
        f"{len(layout.modules)} modules of {' x '.join(map(str, layout.module_shape))} {layout.dtype.name}, "
        "one below the other in the order of the attribute modules"
    )
    if layout.fields:
        group.attrs["fields"] = json.dumps([field.as_dict() for field in layout.fields])
    file.create_group("general")["detector_name"] = layout.detector
    return group


def link_images(file: h5py.File, data: h5py.Dataset) -> None:
    """Describe the images and link them to where viewers look."""
    describe(data)
    file.create_group("entry").attrs.update({"NX_class": "NXentry", "default": "data"})
    file.create_group("entry/data").attrs.update({"NX_class": "NXdata", "signal": DATA})
    file[f"entry/data/{DATA}"] = data


def describe(dataset: h5py.Dataset) -> None:
    """Attach unit and meaning to one of the documented datasets."""
    name = str(dataset.name).rsplit("/", 1)[-1]
    dataset.attrs["long_name"] = _LONG_NAMES[name]
    if _UNITS[name]:
        dataset.attrs["units"] = _UNITS[name]


def module_masks(present: np.ndarray) -> np.ndarray:
    """Return bool[n, modules] as bits: uint64[n, ceil(modules / 64)]."""
    n, modules = present.shape
    words = -(-modules // 64)
    padded = np.zeros((n, words * 64), bool)
    padded[:, :modules] = present
    return np.packbits(padded, axis=1, bitorder="little").view("<u8")
