"""An HDF5 file that grows while images come in, and that viewers can follow: single writer, multiple readers (SWMR)."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import h5py
import numpy as np

from detectors.errors import HostError
from detectors.frame import MISSING_MASK_BYTES
from detectors.image_head import IMAGE_HEAD, ImageHead
from detectors.outputs.hdf5.filters import compression
from detectors.outputs.hdf5.nd_attributes import ALWAYS, Attribute, AttributeColumns
from detectors.outputs.hdf5.schema import DATA, FileLayout, describe, link_images, make_group, module_masks

_ROWS_PER_CHUNK: Final = 1024
"""Of the metadata datasets."""

_MASK_CHUNK_BYTES: Final = 1 << 16


SUMMARY: Final[Mapping[str, np.generic]] = {
    "images": np.int64(0), "damaged": np.int64(0), "filled": np.int64(0), "lost": np.int64(0), "complete": np.int64(0),
}  # fmt: skip
"""Attributes of /entry that say what a file holds. They have their values when it is closed: a file cut off is not complete."""

_DETECTOR: Final = "entry/instrument/detector"


class FileImage(NamedTuple):
    """One image to append."""

    head: ImageHead
    pixels: np.ndarray | None = None
    """None: an image that is missing, which reads as zeros."""
    pvs: Mapping[str, Any] = MappingProxyType({})
    """Values of PVs by name, for attributes."""
    compressed: bool = False
    """Whether ``pixels`` are a chunk (uint8) in the compression of the file."""


class LiveFile:
    """A file of the documented layout under its final name, to which images are appended. For one thread.

    ``attributes`` are kept for every image, the numbers ``metadata`` below /entry/instrument/detector, once.
    Raises HostError when it is there already or cannot be made, ConfigError for an unknown compression.
    """

    def __init__(
        self,
        path: Path,
        layout: FileLayout,
        compress: str = "none",
        attributes: Sequence[Attribute] = ALWAYS,
        metadata: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self.path = path
        self.count = 0
        self.bytes = 0
        self._layout = layout
        self._how = compression(compress, layout.image_bytes)
        try:
            # "w-" refuses a file that is there; SWMR needs the newest structures.
            self._file = h5py.File(path, "w-", libver="latest", alignment_threshold=1 << 16, alignment_interval=4096)
        except OSError as error:
            reason = "is there already" if path.exists() else "cannot be made"
            raise HostError(f"{path}: {reason}; choose another name or folder ({error.strerror or error})") from None
        group = make_group(self._file, layout)
        shape = layout.image_shape
        plist: Any = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        self._data = group.create_dataset(
            DATA,
            (0, *shape),
            layout.dtype,
            maxshape=(None, *shape),
            chunks=(1, *shape),
            dcpl=plist,
            **self._how.options,
        )
        self._columns = {
            name: self._column(group, name, 1, dtype) for name, (dtype, *_) in (IMAGE_HEAD.fields or {}).items()
        }
        words = -(-len(layout.modules) // 64)
        self._masks = self._column(group, "module_mask", words, np.dtype("<u8"))
        modules = len(layout.modules)
        rows = max(1, _MASK_CHUNK_BYTES // (modules * MISSING_MASK_BYTES))
        shape = (modules, MISSING_MASK_BYTES)
        self._packets = group.create_dataset(
            "missing_packets", (0, *shape), np.uint8, maxshape=(None, *shape), chunks=(rows, *shape)
        )
        describe(self._packets)
        link_images(self._file, self._data)
        self._attributes = AttributeColumns(self._file, attributes)
        for name, value in metadata.items():
            self._file[f"{_DETECTOR}/{name}"] = value
        entry = self._file["entry"]
        for name, value in SUMMARY.items():  # a file open for SWMR takes no new ones
            entry.attrs.create(name, value)
        self._file.swmr_mode = True

    def append(self, images: list[FileImage]) -> None:
        """Append images and let readers see them. Raises OSError; then the file ends with the images before these."""
        datasets = (
            self._data, self._masks, self._packets, *self._attributes.datasets, *self._columns.values(),
        )  # fmt: skip
        try:
            self._extend(images)
            # The pixels before the numbers: a reader that sees a pulse_id can read its image.
            for dataset in datasets:
                dataset.flush()
        except BaseException:
            for dataset in datasets:
                with suppress(OSError, RuntimeError):
                    dataset.resize(self.count, axis=0)
            raise
        self.count += len(images)
        self.bytes += self._layout.image_bytes * sum(image.pixels is not None for image in images)

    def _extend(self, images: list[FileImage]) -> None:
        first, count = self.count, self.count + len(images)
        self._data.resize(count, axis=0)
        corner = (0,) * len(self._layout.image_shape)
        self._packets.resize(count, axis=0)
        for row, (head, pixels, _, compressed) in enumerate(images, first):
            if pixels is not None:
                chunk = self._how.encode(pixels) if self._how.encode and not compressed else pixels
                self._data.id.write_direct_chunk((row, *corner), chunk)
            if head.missing:
                self._packets[row] = np.frombuffer(b"".join(head.missing), np.uint8).reshape(-1, MISSING_MASK_BYTES)
        heads = np.array([image.head[:4] for image in images], IMAGE_HEAD)
        for name, dataset in self._columns.items():
            dataset.resize(count, axis=0)
            dataset[first:] = heads[name][:, None]
        modules = np.arange(len(self._layout.modules), dtype=np.uint64)
        present = np.array([image.head.present for image in images], np.uint64)[:, None] >> modules & np.uint64(1)
        self._masks.resize(count, axis=0)
        self._masks[first:] = module_masks(present.astype(bool))
        self._attributes.append(first, [(image.head, image.pvs) for image in images])

    def close(self, summary: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Close; ``summary`` are the attributes of /entry named in SUMMARY. Idempotent. Raises OSError."""
        try:
            if self._file:
                for name, value in summary.items():
                    self._file["entry"].attrs.modify(name, value)
            self._file.close()
        except RuntimeError as error:  # so h5py says that the last numbers could not be written
            raise OSError(str(error)) from None

    def _column(self, group: h5py.Group, name: str, width: int, dtype: np.dtype) -> h5py.Dataset:
        dataset = group.create_dataset(name, (0, width), dtype, maxshape=(None, width), chunks=(_ROWS_PER_CHUNK, width))
        describe(dataset)
        return dataset
