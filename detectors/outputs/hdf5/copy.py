"""The buffer to an HDF5 file, pixels copied: compressed on all processors, or written as they are by one thread.

One thread writes as fast as several, which wait for each other: the kernel lets one at a time write to a file. Another compares the
pixels with their CRC ahead of it.
"""

import ctypes
import errno
import mmap
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from crc32c import crc32c

from detectors.buffer.checks import Progress
from detectors.buffer.layout import data_file
from detectors.buffer.reader import MAPPED_PER_MODULE, BufferReader
from detectors.errors import BufferReadError, HostError
from detectors.frame import FILE_MOD, SIDECAR_HAS_CRC
from detectors.outputs.hdf5.filters import Compression, Encode, compression
from detectors.outputs.hdf5.schema import DATA, FileLayout, atomic_file, link_images, write_metadata
from detectors.outputs.hdf5.selection import Missing, PulseRange, Selection, pixel_offset, select

_ALIGN: Final = 4096
_ALIGN_ABOVE: Final = 16 * _ALIGN
"""Chunks start on pages: writing them is a quarter faster than across the edges of pages."""

_POPULATE_READ: Final = 22
"""MADV_POPULATE_READ of Linux 5.14 and newer, which Python has no name for."""

_AHEAD: Final = 2
"""What each thread does, images or groups of them, while an earlier one is waited for."""

_GROUP_BYTES: Final = 8 << 20
"""Images that are compared with their CRC before they are written, in one go: with one at a time the threads wait for each other."""

_FALLOCATE: Final = ctypes.CDLL(None).fallocate
_FALLOCATE.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


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
    """Finds the pixels of images where they lie: in the mapped files of the buffer. For any thread."""

    def __init__(self, reader: BufferReader, layout: FileLayout, selection: Selection) -> None:
        self._reader = reader
        self._layout = layout
        self._selection = selection
        self.image_bytes, self._frame_bytes = layout.image_bytes, layout.frame_bytes
        self._file = lru_cache(MAPPED_PER_MODULE * len(layout.modules))(partial(_DataFile, reader))

    def __len__(self) -> int:
        return len(self._selection)

    def parts(self, row: int) -> list[np.ndarray]:
        """Return the frames of image ``row``, uint8 each, one for each module."""
        pulse_id, layout = int(self._selection.pulses[row]), self._layout
        return [
            self._frame(pulse_id, module) if present else np.zeros(self._frame_bytes, np.uint8)
            for module, present in zip(layout.modules, self._selection.present[row], strict=True)
        ]

    def image(self, row: int) -> np.ndarray:
        """Return image ``row``."""
        parts = self.parts(row)
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return whole.view(self._layout.dtype).reshape(self._layout.image_shape)

    def _frame(self, pulse_id: int, module: str) -> np.ndarray:
        info = self._reader.info
        file = self._file(module, data_file(pulse_id))
        stored = file.pixels(pixel_offset(info, pulse_id), info.data_bytes)
        entry = file.entries[pulse_id % FILE_MOD]
        if not entry["flags"]:  # it may have been written since
            entry = self._reader.sidecar(pulse_id, module)
        if entry is not None and entry["flags"] & SIDECAR_HAS_CRC and (found := crc32c(stored.data)) != entry["crc32c"]:
            raise BufferReadError(
                f"{file.path}: the pixels of pulse {pulse_id} have CRC32C {found:#010x}, the sidecar says "
                f"{int(entry['crc32c']):#010x}; `pebbledaq repair` marks the record as a hole"
            )
        if not info.layout.is_packed:
            return stored[: self._frame_bytes]
        pixels = np.empty(self._frame_bytes, np.uint8)
        info.layout.unpack(stored[: info.layout.data_bytes], pixels.view(info.layout.pixel_type))
        return pixels


class _DataFile:
    """A data file of a module, mapped, and its sidecar. Raises BufferReadError when it is gone."""

    def __init__(self, reader: BufferReader, module: str, first_pulse: int) -> None:
        self.path = reader.path(first_pulse, module).absolute()
        self.entries = reader.sidecars(first_pulse, module)
        try:
            with self.path.open("rb", buffering=0) as file:
                self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        except OSError as error:
            raise self._gone(error) from None

    def pixels(self, offset: int, size: int) -> np.ndarray:
        """Return uint8[size], a view. Raises BufferReadError when the file is gone or was cut off meanwhile."""
        try:
            there = self.path.stat().st_size
        except OSError as error:
            raise self._gone(error) from None
        if there < offset + size:
            raise BufferReadError(f"{self.path}: found {there} bytes, expected {offset + size}; the file was cut off")
        begin = offset - offset % mmap.PAGESIZE
        with suppress(OSError):  # of an older kernel: pages then come one by one, which takes a quarter longer
            self._map.madvise(_POPULATE_READ, begin, offset + size - begin)
        return np.frombuffer(self._map, np.uint8, size, offset)

    def _gone(self, error: OSError) -> BufferReadError:
        return BufferReadError(f"{self.path}: cannot be read: {error.strerror}; was it deleted meanwhile?")


def _addresses(data: h5py.Dataset) -> list[int]:
    """Return where in the file each chunk lies."""
    found: dict[int, int] = {}

    def note(chunk: Any) -> None:
        found[chunk.chunk_offset[0]] = chunk.byte_offset

    data.id.chunk_iter(note)
    return [found[row] for row in range(data.shape[0])]


def _write_places(path: Path, addresses: list[int], images: _Images, progress: Progress | None) -> None:
    count, group = len(images), max(1, _GROUP_BYTES // images.image_bytes)

    def checked(number: int) -> list[list[np.ndarray]]:
        return [images.parts(row) for row in range(number * group, min((number + 1) * group, count))]

    descriptor = os.open(path, os.O_WRONLY)
    try:
        # One request for all blocks costs less than one for each page; a file system that knows none goes page by page. It is
        # not Python's posix_fallocate, which writes into every page then.
        _FALLOCATE(descriptor, 0, min(addresses), max(addresses) + images.image_bytes - min(addresses))
        rows = enumerate(chain.from_iterable(_in_order(checked, -(-count // group), threads=1)))
        for row, parts in rows:
            place = addresses[row]
            for part in parts:
                place = _write(descriptor, part.data, place)
            if progress:
                progress(row + 1, count)
    finally:
        os.close(descriptor)


def _write(descriptor: int, pixels: memoryview, place: int) -> int:
    """Write pixels to a place, and return where they end. Raises BufferReadError when they are gone."""
    done = 0
    while done < len(pixels):
        try:
            done += os.pwrite(descriptor, pixels[done:], place + done)
        except OSError as error:
            if error.errno != errno.EFAULT:
                raise
            raise BufferReadError(
                "buffer: found no pixels where they were a moment ago; the file was cut off"
            ) from None
    return place + done


def _write_chunks(data: h5py.Dataset, images: _Images, encode: Encode, progress: Progress | None) -> None:
    def chunk(row: int) -> tuple[int, memoryview]:
        return row, encode(images.image(row))

    corner = (0,) * (len(data.shape) - 1)
    chunks = _in_order(chunk, len(images), threads=len(os.sched_getaffinity(0)))
    for done, (row, encoded) in enumerate(chunks, 1):
        data.id.write_direct_chunk((row, *corner), encoded)
        if progress:
            progress(done, len(images))


def _in_order(work: Callable[[int], Any], count: int, *, threads: int) -> Iterator[Any]:
    """Yield ``work(0) ... work(count - 1)``, in this order; little runs ahead of the taker."""
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
