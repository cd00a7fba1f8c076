"""A long range on many machines: a Dask cluster writes its parts, a virtual dataset joins them.

A part has the modules of one host and up to 1000 images, and is written where the pixels are. Its bytes follow from the request, so that a
command that was stopped goes on with the parts that are there. All machines must see the buffer and the output folder under the same paths.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py

from detectors.buffer.checks import Progress
from detectors.buffer.reader import BufferReader
from detectors.cluster.jobs import Job, Workers
from detectors.cluster.parts import PartsFolder
from detectors.cluster.shared_data import SharedData
from detectors.errors import HostError
from detectors.outputs.hdf5.copy import write_images
from detectors.outputs.hdf5.filters import compression
from detectors.outputs.hdf5.schema import DATA, FileLayout, atomic_file, check_new, link_images, write_metadata
from detectors.outputs.hdf5.selection import Missing, PulseRange, Selection, select

IMAGES_PER_PART: Final = 1000


@dataclass(frozen=True, slots=True)
class _Part:
    """Some images of the modules of one host."""

    name: str
    first: int
    """First row of the images, and the row behind the last."""
    last: int
    modules: tuple[int, ...]
    """Their numbers in the image."""
    host: str


def write_on_workers(
    reader: BufferReader,
    pulses: PulseRange,
    path: Path,
    workers: Workers,
    *,
    compress: str = "none",
    missing: Missing = "skip",
    progress: Progress | None = None,
) -> int:
    """Write the images of a range to ``<path>.parts/*.h5``, joined by ``path``, and return how many.

    The parts stay when it is stopped, and a second call goes on from there. Raises like ``write_file``, and HostError when a cluster fails.
    """
    path = path.absolute()
    check_new(path)
    layout = FileLayout.of(reader.data_set.name, reader.modules, reader.info)
    compression(compress, layout.image_bytes)
    data = SharedData.of(reader)
    selection = select(reader, pulses, missing)
    parts = list(_parts(data, reader.modules, selection))
    folder = PartsFolder(path, _request(reader, selection, parts, compress))
    jobs = [
        Job(
            write_part,
            (data, *_of_part(part, layout, selection), folder.folder / part.name, compress),
            part.host,
        )
        for part in parts
    ]
    for _ in workers.map(jobs, progress):
        pass
    _join(path, folder.folder, layout, selection, parts)
    folder.keep({part.name for part in parts})
    return len(selection)


def write_part(data: SharedData, layout: FileLayout, selection: Selection, path: Path, compress: str) -> None:
    """Write one part, unless it is there already; runs on a worker."""
    if path.exists():
        return
    try:
        write_images(data.open(*layout.modules), layout, selection, path, how=compression(compress, layout.image_bytes))
    except HostError:
        if not path.exists():  # else a worker of a command that was stopped has written the same meanwhile
            raise


def _parts(data: SharedData, modules: tuple[str, ...], selection: Selection) -> Iterator[_Part]:
    """Yield the parts that hold any frame; what is in none of them reads as zero."""
    hosts: dict[str, list[int]] = {}
    for number, module in enumerate(modules):
        hosts.setdefault(data.host(module), []).append(number)
    for first in range(0, len(selection), IMAGES_PER_PART):
        last = min(first + IMAGES_PER_PART, len(selection))
        for host, numbers in hosts.items():
            if selection.present[first:last, numbers].any():
                name = f"{first // IMAGES_PER_PART:04}{'-' if host else ''}{host}.h5"
                yield _Part(name, first, last, tuple(numbers), host)


def _of_part(part: _Part, layout: FileLayout, selection: Selection) -> tuple[FileLayout, Selection]:
    """Return what the file of a part holds. The heads of its images are those of the whole images."""
    rows = slice(part.first, part.last)
    modules = tuple(layout.modules[number] for number in part.modules)
    return (
        FileLayout(layout.detector, modules, layout.module_shape, layout.dtype, layout.fields),
        Selection(selection.heads[rows], selection.present[rows, list(part.modules)]),
    )


def _request(reader: BufferReader, selection: Selection, parts: list[_Part], compress: str) -> dict[str, object]:
    chosen = hashlib.sha256(selection.heads.tobytes() + selection.present.tobytes())
    return {
        "detector": str(reader.data_set.path.absolute()),
        "modules": reader.modules,
        "images": chosen.hexdigest(),
        "parts": [part.name for part in parts],
        "compression": compress,
    }


def _join(path: Path, folder: Path, layout: FileLayout, selection: Selection, parts: list[_Part]) -> None:
    """Write the file that joins the parts."""
    images: Any = h5py.VirtualLayout((len(selection), *layout.image_shape), layout.dtype)
    images.dcpl.set_obj_track_times(False)  # as of all other datasets: the same request gives the same bytes
    height, *rest = layout.module_shape
    for part in parts:
        count, rows = part.last - part.first, len(part.modules) * height
        # Relative: the file and its parts can be moved together.
        source = h5py.VirtualSource(
            f"{folder.name}/{part.name}", f"data/{layout.detector}/{DATA}", (count, rows, *rest), layout.dtype
        )
        for place, number in enumerate(part.modules):
            images[part.first : part.last, number * height : (number + 1) * height] = source[
                :, place * height : (place + 1) * height
            ]
    with atomic_file(path, libver=("earliest", "v110")) as (file, _):
        group = write_metadata(file, layout, selection)
        link_images(file, group.create_virtual_dataset(DATA, images, fillvalue=0))
