"""Makes a buffer sound again after a crash: torn records become holes, short files get their size, LATEST is rebuilt."""

import fcntl
import itertools
import os
from collections.abc import Iterator

from detectors.buffer.atomic import write_atomically
from detectors.buffer.checks import Progress, open_files
from detectors.buffer.file_checks import TORN_CHECKS, Inconsistency, ModuleFile, check_file
from detectors.buffer.layout import LAST_PULSE, LATEST, sidecar_path
from detectors.buffer.listing import data_files
from detectors.buffer.reader import BufferReader
from detectors.buffer.sidecar import clear_entries
from detectors.errors import BufferReadError, ConfigError, HostError
from detectors.frame import CLOSING_BYTE, FILE_MOD, SIDECAR_PRESENT


def repair_buffer(
    reader: BufferReader,
    start: int = 0,
    stop: int = LAST_PULSE,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Iterator[Inconsistency]:
    """Yield what is repaired, as it is repaired; with ``dry_run`` nothing is changed.

    Records whose marker, place, pixels or end are wrong become holes; a sidecar entry without its record is cleared; a
    file that was cut off gets its size and closing byte. Folders and files that cannot be read are yielded as ``readable``
    and left alone. Raises ConfigError for a data set of several hosts, HostError when a file is being written, or cannot be.
    """
    if reader.data_set.map_file:
        raise ConfigError(
            f"{reader.data_set.path}: found a map, expected the folder of a detector; repair each host's own, on that host"
        )
    for file in itertools.chain.from_iterable(open_files(reader, start, stop, progress)):
        if isinstance(file, Inconsistency):
            yield file
            continue
        findings = list(check_file(file, (*TORN_CHECKS, "sidecar")))
        short = list(check_file(file, ("size", "closing_byte")))
        if (findings or short) and not dry_run:
            _mend(file, findings, resize=bool(short))
        yield from findings
        yield from short
    for module in reader.modules:
        yield from _mend_latest(reader, module, dry_run=dry_run)


def _mend(file: ModuleFile, findings: list[Inconsistency], *, resize: bool) -> None:
    path = file.file.path
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # the open records of a writer look torn
                raise HostError(
                    f"{path}: a writer has it open; stop the writer, or give a --stop before this file"
                ) from None
            for finding in findings:
                if finding.check in TORN_CHECKS and finding.pulse is not None:
                    os.pwrite(fd, b"\0", file.file.offset(finding.pulse % FILE_MOD))
            if resize:
                os.pwrite(fd, bytes([CLOSING_BYTE]), file.file.full_size - 1)
            os.fsync(fd)
        finally:
            os.close(fd)
        # Empty where the records are now holes, or where the entry is of another pulse.
        places = {finding.pulse % FILE_MOD for finding in findings if finding.pulse is not None}
        places = {index for index in places if file.sidecars[index]["flags"] & SIDECAR_PRESENT}
        if places:
            clear_entries(sidecar_path(path), places)
    except OSError as error:
        raise HostError(f"{path}: cannot be repaired: {error.strerror}") from None


def _mend_latest(reader: BufferReader, module: str, *, dry_run: bool) -> Iterator[Inconsistency]:
    """Let LATEST name the file with the highest pulses when it names none, or one that is not there."""
    folder = reader.data_set.folder(module)
    files = [reader.path(number, module) for number in sorted(data_files(folder, unreadable=[]))]
    if not files:
        return
    try:
        latest = reader.latest(module)
    except BufferReadError as error:
        if (folder / LATEST).is_dir():
            yield Inconsistency("readable", module, None, str(error))
            return
        latest = None
    if latest in files:
        return
    name = files[-1].relative_to(folder)
    if not dry_run:
        try:
            write_atomically(folder / LATEST, f"{name}\n".encode())
        except OSError as error:
            raise HostError(f"{folder / LATEST}: cannot be written: {error.strerror}") from None
    yield Inconsistency(
        "latest", module, None, f"{folder / LATEST}: named {str(latest)[:200] if latest else 'nothing'}, now {name}"
    )
