"""A long range on many machines: a Dask cluster writes its parts, a virtual dataset joins them.

All machines must see the buffer and the output folder under the same paths.
"""

import math
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final, cast

import h5py
import numpy as np

from detectors.buffer.data_set import DataSet, cannot_see
from detectors.buffer.reader import BufferReader
from detectors.errors import BufferReadError, HostError
from detectors.extras import extra
from detectors.outputs.hdf5.copy import Progress, write_file
from detectors.outputs.hdf5.schema import DATA, FileLayout, atomic_file, link_images, write_metadata
from detectors.outputs.hdf5.selection import Missing, PulseRange, Selection, select

_PARTS_PER_WORKER: Final = 4
"""So that a slow worker does not hold up the end."""

_LEAST_PULSES: Final = 100
"""A part should be worth its file."""

_CONNECT_TIMEOUT_S: Final = 10


def write_on_cluster(
    reader: BufferReader,
    pulses: PulseRange,
    path: Path,
    scheduler: str,
    *,
    compress: str = "none",
    missing: Missing = "skip",
    progress: Progress | None = None,
) -> int:
    """Write the images of a range to ``<path>.parts/*.h5`` on the workers of a Dask scheduler, joined by ``path``.

    Returns how many. Raises like ``write_file``, and HostError when there is no cluster at that address.
    """
    path = path.absolute()
    folder = path.with_name(path.name + ".parts")
    layout = FileLayout.of(reader.data_set.name, reader.modules, reader.info)
    selection = select(reader, pulses, missing)
    with closing(_connect(scheduler)) as client:
        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        if not workers:
            raise HostError(f"{scheduler}: the Dask scheduler has no workers; start some, or write without --scheduler")
        held = PulseRange(int(selection.pulses[0]), int(selection.pulses[-1]), pulses.step)
        data_set = reader.data_set.absolute()
        holders = [reader.modules[m] for m in np.flatnonzero(selection.present.any(axis=0))]
        parts = list(held.parts(min(workers * _PARTS_PER_WORKER, math.ceil(len(selection) / _LEAST_PULSES))))
        _make_folder(folder)
        try:
            jobs = [
                client.submit(
                    write_part,
                    data_set,
                    holders,
                    part,
                    _part(folder, n),
                    compress=compress,
                    missing=missing,
                    pure=False,
                )
                for n, part in enumerate(parts)
            ]
            counts = _gather(client, jobs, progress)
            _join(path, folder, layout, selection, list(zip(parts, counts, strict=True)))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return len(selection)


def _connect(scheduler: str) -> Any:
    with extra("dask", "--scheduler"):
        from distributed import Client
    try:
        return Client(scheduler, timeout=_CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise HostError(f"{scheduler}: no Dask scheduler answers there: {error}; give tcp://host:port") from None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir()
    except OSError as error:
        raise HostError(f"{folder}: cannot be made: {error.strerror}; remove it or choose another name") from None


def _gather(client: Any, jobs: list[Any], progress: Progress | None) -> list[int]:
    """Return the results of all jobs, in order; raises what any of them raises, and cancels the others."""
    from distributed import as_completed

    try:
        for done, job in enumerate(cast("Iterator[Any]", as_completed(jobs, loop=client.loop)), 1):
            job.result()
            if progress:
                progress(done, len(jobs))
        return client.gather(jobs)
    finally:
        client.cancel(jobs)


def write_part(
    data_set: DataSet, holders: list[str], part: PulseRange, path: Path, *, compress: str, missing: Missing
) -> int:
    """Write one part; runs on a worker. Returns its images: 0, and no file, when the buffer holds nothing of it.

    Raises BufferReadError when the folder of one of ``holders``, the modules that hold something, cannot be seen there.
    """
    for module in holders:
        if why := cannot_see(data_set.modules[module]):
            raise BufferReadError(f"on {socket.gethostname()}: {why}; mount it on the hosts of all Dask workers")
    reader = BufferReader(data_set)
    if not any(len(reader.pulses(part.start, part.stop, part.step, module)) for module in reader.modules):
        return 0
    return write_file(reader, part, path, compress=compress, missing=missing)


def _part(folder: Path, number: int) -> Path:
    return folder / f"{number:04}.h5"


def _join(
    path: Path, folder: Path, layout: FileLayout, selection: Selection, parts: list[tuple[PulseRange, int]]
) -> None:
    """Write the file that joins ``parts``, given with their images; what no part has reads as zero."""
    images = h5py.VirtualLayout((len(selection), *layout.image_shape), layout.dtype)
    for number, (part, count) in enumerate(parts):
        first = int(np.searchsorted(selection.pulses, np.uint64(part.start)))
        last = int(np.searchsorted(selection.pulses, np.uint64(part.stop), side="right"))
        if count != (last - first if selection.present[first:last].any() else 0):
            raise BufferReadError(
                f"{_part(folder, number)}: has {count} images, expected {last - first}; was the buffer changed meanwhile?"
            )
        if count:
            # Relative: the file and its parts can be moved together.
            images[first:last] = h5py.VirtualSource(
                f"{folder.name}/{_part(folder, number).name}",
                f"data/{layout.detector}/{DATA}",
                (count, *layout.image_shape),
                layout.dtype,
            )
    with atomic_file(path, libver=("earliest", "v110")) as (file, _):
        group = write_metadata(file, layout, selection)
        link_images(file, group.create_virtual_dataset(DATA, images, fillvalue=0))
