"""The buffer to an HDF5 file, pixels copied: read, compressed and written on all processors."""

import os
import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from crc32c import crc32c

from detectors.buffer.reader import BufferReader
from detectors.errors import BufferReadError, HostError
from detectors.frame import SIDECAR_HAS_CRC
from detectors.outputs.hdf5.filters import Compression, Encode, compression
from detectors.outputs.hdf5.schema import DATA, FileLayout, atomic_file, link_images, write_metadata
from detectors.outputs.hdf5.selection import Missing, PulseRange, Selection, frame_file, select

_ALIGN: Final = 4096
_ALIGN_ABOVE: Final = 16 * _ALIGN
"""Chunks start on pages: writing them is a quarter faster than across the edges of pages."""

_AHEAD: Final = 2
"""Images of each processor that are read while an earlier one is waited for."""

Progress = Callable[[int, int], None]
"""Called with images done and images in all."""


def write_file(
    reader: BufferReader,
    pulses: PulseRange,
    path: Path,
    *,
    compress: str = "none",
    missing: Missing = "skip",
    progress: Progress | None = None,
) -> int:
    """Write the images of a range to a new file, and return how many.

    Modules that lack a pulse are zeros; so are, with ``missing`` "fill", whole images. Raises ConfigError for a wrong
    request, BufferReadError when there is nothing to write, a record is torn or its
    pixels differ from their CRC, HostError when the disk refuses.
    """
    layout = FileLayout.of(reader.data_set.name, reader.modules, reader.info)
    how = compression(compress, layout.image_bytes)
    if missing == "fill":
        _check_space(path, layout, len(pulses), how)
    selection = select(reader, pulses, missing)
    _check_space(path, layout, len(selection), how)
    write_images(reader, layout, selection, path, how=how, progress=progress)
    return len(selection)


def write_images(
    reader: BufferReader,
    layout: FileLayout,
    selection: Selection,
    path: Path,
    *,
    how: Compression,
    progress: Progress | None = None,
) -> None:
    """Write images of the reader's modules to a new file. Its bytes follow from the arguments. Raises as ``write_file`` does."""
    with atomic_file(path, alignment_threshold=_ALIGN_ABOVE, alignment_interval=_ALIGN) as (file, beside):
        group = write_metadata(file, layout, selection)
        data = _create_images(group, layout, len(selection), how)
        link_images(file, data)
        images = _Images(reader, layout, selection)
        if how.encode:
            _write_chunks(data, images, how.encode, progress)
        else:
            addresses = _addresses(data)
            # Closed first: from here on the file is written at places that HDF5 has set aside, not by HDF5.
            file.close()
            _write_places(beside, addresses, images, progress)


def _check_space(path: Path, layout: FileLayout, count: int, how: Compression) -> None:
    if not path.absolute().parent.is_dir():
        raise HostError(f"{path}: cannot be written: its folder is not there; create it first")
    free, needed = shutil.disk_usage(path.absolute().parent).free, count * layout.image_bytes
    if needed > free and how.encode is None:
        raise HostError(
            f"{path}: {count} images need {needed:,} bytes, free are {free:,}; free some space, use --view or another disk"
        )


def _create_images(group: h5py.Group, layout: FileLayout, count: int, how: Compression) -> h5py.Dataset:
    plist: Any = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)  # every chunk is written whole
    if how.encode is None:
        plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    return group.create_dataset(
        DATA, (count, *layout.image_shape), layout.dtype, chunks=(1, *layout.image_shape), dcpl=plist, **how.options
    )


class _Images:
    """Reads whole images, each thread into memory of its own."""

    def __init__(self, reader: BufferReader, layout: FileLayout, selection: Selection) -> None:
        self._reader = reader
        self._layout = layout
        self._selection = selection
        self._own = threading.local()

    def __len__(self) -> int:
        return len(self._selection)

    def read(self, row: int) -> np.ndarray:
        """Return image ``row``, in memory that the thread's next call overwrites."""
        layout = self._layout
        image: np.ndarray | None = getattr(self._own, "image", None)
        if image is None:
            image = self._own.image = np.empty(layout.image_shape, layout.dtype)
        flat, size = image.reshape(-1).view(np.uint8), layout.frame_bytes
        pulse_id = int(self._selection.pulses[row])
        for m, module in enumerate(layout.modules):
            part = flat[m * size : (m + 1) * size]
            if self._selection.present[row, m]:
                self._read_frame(pulse_id, module, part)
            else:
                part[:] = 0
        return image

    def _read_frame(self, pulse_id: int, module: str, out: np.ndarray) -> None:
        info = self._reader.info
        path, offset = frame_file(self._reader, pulse_id, module)
        stored = out if info.data_bytes == out.nbytes else np.empty(info.data_bytes, np.uint8)
        read_frame_into(path, offset, stored)
        entry = self._reader.sidecar(pulse_id, module)
        if entry is not None and entry["flags"] & SIDECAR_HAS_CRC and (found := crc32c(stored.data)) != entry["crc32c"]:
            raise BufferReadError(
                f"{path}: the pixels of pulse {pulse_id} have CRC32C {found:#010x}, the sidecar says "
                f"{int(entry['crc32c']):#010x}; `pebbledaq repair` marks the record as a hole"
            )
        if info.layout.is_packed:
            info.layout.unpack(stored[: info.layout.data_bytes], out.view(info.layout.pixel_type))
        elif stored is not out:
            out[:] = stored[: out.nbytes]


def read_frame_into(path: Path, offset: int, out: np.ndarray) -> None:
    """Read the pixels of a frame. Raises BufferReadError when the file is gone or was cut off meanwhile."""
    try:
        with path.open("rb", buffering=0) as file:
            done = os.preadv(file.fileno(), [out.data], offset)
    except OSError as error:
        raise BufferReadError(f"{path}: cannot be read: {error.strerror}; was it deleted meanwhile?") from None
    if done != out.nbytes:
        raise BufferReadError(f"{path}: found {done} bytes at {offset}, expected {out.nbytes}; the file was cut off")


def _addresses(data: h5py.Dataset) -> list[int]:
    """Return where in the file each chunk lies."""
    found: dict[int, int] = {}

    def note(chunk: Any) -> None:
        found[chunk.chunk_offset[0]] = chunk.byte_offset

    data.id.chunk_iter(note)
    return [found[row] for row in range(data.shape[0])]


def _write_places(path: Path, addresses: list[int], images: _Images, progress: Progress | None) -> None:
    descriptor = os.open(path, os.O_WRONLY)

    def copy(row: int) -> None:
        view = images.read(row).data.cast("B")
        done = 0
        while done < len(view):
            done += os.pwrite(descriptor, view[done:], addresses[row] + done)

    try:
        for done, _ in enumerate(_on_all_processors(copy, len(images)), 1):
            if progress:
                progress(done, len(images))
    finally:
        os.close(descriptor)


def _write_chunks(data: h5py.Dataset, images: _Images, encode: Encode, progress: Progress | None) -> None:
    def chunk(row: int) -> tuple[int, memoryview]:
        return row, encode(images.read(row))

    corner = (0,) * (len(data.shape) - 1)
    for done, (row, encoded) in enumerate(_on_all_processors(chunk, len(images)), 1):
        data.id.write_direct_chunk((row, *corner), encoded)
        if progress:
            progress(done, len(images))


def _on_all_processors(work: Callable[[int], Any], count: int) -> Iterator[Any]:
    """Yield ``work(0) ... work(count - 1)``, in this order; little runs ahead of the taker."""
    threads = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(threads, thread_name_prefix="hdf5") as executor:
        running: deque[Future[Any]] = deque()
        try:
            for row in range(count):
                running.append(executor.submit(work, row))
                if len(running) >= _AHEAD * threads:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
