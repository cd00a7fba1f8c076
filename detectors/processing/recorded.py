"""A user's function on the images of a range that the buffer holds, chunk by chunk, by any workers.

A chunk is what one file of each module has of the range. Its images are combined one after another, the chunks in a tree: so the output is
the same, bit by bit, whichever workers there are.
"""

import functools
import socket
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np

from detectors.buffer.checks import Progress
from detectors.buffer.reader import BufferReader
from detectors.cluster.jobs import Job, Workers
from detectors.cluster.parts import PartsFolder
from detectors.cluster.shared_data import SharedData
from detectors.errors import BufferReadError, ConfigError, HostError
from detectors.frame import FILE_MOD
from detectors.outputs.hdf5.schema import check_new
from detectors.outputs.hdf5.selection import PulseRange
from detectors.processing.function import Processing, load
from detectors.processing.parts import Total, read_part, write_part
from detectors.processing.result_file import Counts, Processed, write_result


@dataclass(frozen=True, slots=True)
class _Work:
    """What a worker has to know."""

    data: SharedData
    spec: str
    digest: str
    pulses: PulseRange
    gaps: bool
    parts: Path


def process(
    reader: BufferReader,
    processing: Processing,
    pulses: PulseRange,
    output: Path,
    workers: Workers,
    *,
    gaps: bool = False,
    progress: Progress | None = None,
) -> Processed:
    """Write what the function makes of the images of a range to a new file, and return it.

    With ``gaps`` the modules lie at their places, else one below the other. What is done stays in ``<output>.parts`` when it is stopped, and a
    second call goes on from there. Raises BufferReadError when the buffer holds nothing of the range, ProcessingError from the function, and
    HostError.
    """
    output = output.absolute()
    check_new(output)
    numbers = reader.file_numbers(pulses.start, pulses.stop)
    if not numbers:
        raise _nothing(reader, pulses)
    if gaps:
        reader.mosaic()  # raises when it is not known where the modules lie
    request = {
        "function": processing.spec,
        "source": processing.digest,
        "detector": str(reader.data_set.path.absolute()),
        "modules": reader.modules,
        "missing": sorted(reader.missing),
        "pulses": astuple(pulses),
        "gaps": gaps,
    }
    parts = PartsFolder(output, request)
    try:
        data = SharedData.of(reader)
        work = _Work(data, processing.spec, processing.digest, pulses, gaps, parts.folder)
        jobs = [
            Job(process_chunk, (work, number), data.host(*_holders(reader, number), turn=turn))
            for turn, number in enumerate(numbers)
        ]
        total: Total = workers.reduce(jobs, functools.partial(combine, processing.spec, processing.digest), progress)
        if total.result is None:
            parts.remove()
            raise _nothing(reader, pulses)
        result = processing.finish(total.result)
        done = Processed(processing.spec, reader.data_set.name, reader.modules, pulses, total.counts, result)
        write_result(output, done)
    except ConfigError:
        # Another function will be given next, or another range.
        parts.remove()
        raise
    parts.remove()
    return done


def process_chunk(work: _Work, number: int) -> Total:
    """Return the total of one chunk, which becomes a part; what is a part already is not done again. Runs on a worker."""
    part = work.parts / f"{number}.npz"
    done = read_part(part)
    if done is None:
        done = _processed(work, number)
        write_part(part, done)
    return done


def combine(spec: str, digest: str, totals: Sequence[Total]) -> Total:
    """Return the total of several, in their order. Runs on a worker."""
    processing = _loaded(spec, digest)
    first, *others = totals
    for other in others:
        first = first.plus(other, processing)
    return first


def _holders(reader: BufferReader, number: int) -> list[str]:
    return [module for module in reader.modules if reader.has_file(number, module)]


def _processed(work: _Work, number: int) -> Total:
    processing = _loaded(work.spec, work.digest)
    reader = work.data.open()
    mosaic = reader.mosaic() if work.gaps else None
    total = Total()
    pulses, unreadable_files = _held(reader, work.pulses, number)
    for pulse_id in pulses:
        try:
            image = reader.read_image(int(pulse_id), allow_missing=True, mosaic=mosaic)
        except BufferReadError:
            one = Total(Counts(unreadable=1))
        else:
            counts = Counts(images=1, incomplete=int(not image.is_complete))
            one = Total(counts, processing(image.data, reader.image_head(image)))
        total = total.plus(one, processing)
    return replace(total, counts=replace(total.counts, unreadable_files=unreadable_files))


def _held(reader: BufferReader, pulses: PulseRange, number: int) -> tuple[np.ndarray, int]:
    """Return the pulses of a chunk that any module has, and how many files could not be read."""
    found = [np.zeros(0, np.uint64)]
    unreadable = 0
    wanted = pulses.within(number, number + FILE_MOD - 1)
    if not len(wanted):
        return found[0], 0
    for module in reader.modules:
        try:
            found.append(reader.records(int(wanted[0]), int(wanted[-1]), pulses.step, module))
        except BufferReadError:
            unreadable += 1
    return np.unique(np.concatenate(found)), unreadable


def _nothing(reader: BufferReader, pulses: PulseRange) -> BufferReadError:
    return BufferReadError(
        f"{reader.data_set.path}: holds no image of {pulses.start} to {pulses.stop} in steps of {pulses.step}; "
        + reader.extents_text()
    )


@functools.lru_cache(maxsize=4)
def _loaded(spec: str, digest: str) -> Processing:
    """Return the function, which is loaded once in each process, and again when its file has changed."""
    processing = load(spec)
    if processing.digest != digest:
        raise HostError(
            f"{spec}: on {socket.gethostname()} it differs from where the command was given; let all workers see the same file"
        )
    return processing
