"""Is what lies on disk consistent: the buffer with itself, and an HDF5 file with the buffer.

The checks are in ``detectors.buffer.checks`` and ``detectors.outputs.hdf5.checks``; here they are given to workers, those of a file to one
of the host that has it.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Final

from detectors.buffer.checks import MODULES_CHECKS, Checked, CheckedFile, Holders, Progress, check_buffer, check_files
from detectors.buffer.file_checks import FILE_CHECKS, Inconsistency
from detectors.buffer.layout import LAST_PULSE
from detectors.buffer.reader import BufferReader
from detectors.cluster.jobs import Job, ThisProcess, Workers
from detectors.cluster.shared_data import SharedData
from detectors.outputs.hdf5.checks import HDF5_CHECKS, check_hdf5, open_hdf5

CHECKS: Final = (
    "host",
    "readable",
    "records",
    "name",
    "latest",
    *FILE_CHECKS,
    *MODULES_CHECKS,
    *HDF5_CHECKS,
)
"""Every check by the name that its findings carry."""


def verify(
    reader: BufferReader,
    hdf5: Path | None = None,
    *,
    start: int = 0,
    stop: int = LAST_PULSE,
    checked: Checked | None = None,
    progress: Progress | None = None,
    workers: Workers | None = None,
) -> Iterator[Inconsistency]:
    """Yield what is inconsistent between ``start`` and ``stop``, in the buffer and then in ``hdf5``; count into ``checked``.

    ``workers`` do the work; left out: this process. Raises BufferReadError when the HDF5 file cannot be opened: then nothing can be said of it;
    HostError when it is compressed and the library for that is not installed, or when a cluster fails.
    """
    checked = checked if checked is not None else Checked()
    those = workers or ThisProcess()
    # Opened first: a wrong path should not show after an hour of reading the buffer.
    with open_hdf5(hdf5) if hdf5 else nullcontext() as file:
        limits = range(start, stop + 1)
        check_all = partial(_checked_files, reader, limits, those, progress)
        yield from check_buffer(reader, start, stop, checked, check_all=check_all)
        if file:
            for finding in check_hdf5(reader, file, limits, checked=checked, progress=progress, workers=those):
                checked.findings += 1
                yield finding


def _checked_files(
    reader: BufferReader, limits: range, workers: Workers, progress: Progress | None, holders: Holders
) -> Iterator[list[CheckedFile]]:
    """Yield what comes out for the files of each first pulse; each host reads its own."""
    data = SharedData.of(reader)
    hosts = {module: data.host(module) for module in reader.modules}
    jobs: list[Job] = []
    for first, modules in holders.items():
        for host in dict.fromkeys(hosts[module] for module in modules):
            there = [module for module in modules if hosts[module] == host]
            jobs.append(Job(check_on_worker, (data, first, there, limits), host))
    results = workers.map(jobs, progress)
    for modules in holders.values():
        files: list[CheckedFile] = []
        for _ in {hosts[module] for module in modules}:
            files += next(results)
        yield sorted(files, key=lambda file: modules.index(file.module))


def check_on_worker(data: SharedData, first: int, modules: list[str], limits: range) -> list[CheckedFile]:
    """Return what comes out for the files of these modules that begin with pulse ``first``; runs on a worker."""
    return check_files(data.open(*modules), first, modules, limits.start, limits.stop - 1)
