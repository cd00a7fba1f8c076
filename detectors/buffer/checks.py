"""Is a buffer consistent with itself: registered checks that yield findings.

A check that looks at one file is registered with ``@_of_file``, one that compares the modules with ``@_of_modules``.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from crc32c import crc32c

from detectors.buffer.binfile import BinFile
from detectors.buffer.layout import LAST_PULSE, LATEST, file_bytes, relative_path, sidecar_path
from detectors.buffer.listing import data_files
from detectors.buffer.reader import BufferReader
from detectors.buffer.regular import is_missing, readable
from detectors.buffer.sidecar import read_sidecar
from detectors.errors import BufferReadError
from detectors.frame import (
    CLOSING_BYTE,
    FILE_MOD,
    FORMAT_MARKER,
    SIDECAR_HAS_CRC,
    SIDECAR_PRESENT,
    RecordShape,
)


@dataclass(frozen=True, slots=True)
class Inconsistency:
    """One inconsistency. ``pulse`` is None where it concerns a whole file or module."""

    check: str
    module: str
    pulse: int | None
    message: str


@dataclass(slots=True)
class Checked:
    """What was looked at."""

    files: int = 0
    records: int = 0
    incomplete: int = 0
    """Frames with missing packets: a loss that was counted when it happened, not an inconsistency."""
    unchecked: int = 0
    """Records without a CRC: written without a sidecar, or by a writer that was killed."""
    images: int = 0
    """Images of an HDF5 file compared."""
    findings: int = 0


@dataclass
class ModuleFile:
    """One file with its headers, its sidecar and the places that are asked for."""

    module: str
    file: BinFile
    shape: RecordShape
    first: int
    """First and last place asked for."""
    last: int

    def __post_init__(self) -> None:
        self.headers = self.file.headers()
        """RECORD_HEADER[FILE_MOD]."""
        sidecar = sidecar_path(self.file.path)
        with readable(sidecar):
            self.sidecars = read_sidecar(sidecar)
            """SIDECAR[FILE_MOD]."""
        self.held: np.ndarray = self.headers["marker"] == FORMAT_MARKER
        """bool[FILE_MOD]: where whole records lie."""
        self.known: np.ndarray = (self.sidecars["flags"] & SIDECAR_PRESENT) != 0
        """bool[FILE_MOD]: where the sidecar has an entry."""
        self.pulses = self.file.first_pulse + np.arange(FILE_MOD, dtype=np.uint64)
        """uint64[FILE_MOD]: the pulse of each place."""

    def places(self, mask: np.ndarray) -> Iterator[int]:
        """Yield the places asked for at which ``mask``, bool[FILE_MOD], is set."""
        for index in np.flatnonzero(mask[self.first : self.last + 1]):
            yield self.first + int(index)


Progress = Callable[[int, int], None]
"""Called with the files looked at and the files in all."""
FileCheck = Callable[[ModuleFile], Iterator[tuple[int | None, str]]]
"""Yields the place of each inconsistency, None where it concerns the whole file, and what is wrong."""
ModulesCheck = Callable[[dict[str, ModuleFile]], Iterator[tuple[str, int, str]]]
"""Yields the module and the place of each inconsistency, and what is wrong."""

FILE_CHECKS: Final[dict[str, FileCheck]] = {}
MODULES_CHECKS: Final[dict[str, ModulesCheck]] = {}

TORN_CHECKS: Final = ("marker", "truncated", "pulse_id", "crc")
"""Checks whose findings mean that a record cannot be trusted: repair makes holes of these."""


def _of_file(check: FileCheck) -> FileCheck:
    FILE_CHECKS[check.__name__.strip("_")] = check
    return check


def _of_modules(check: ModulesCheck) -> ModulesCheck:
    MODULES_CHECKS[check.__name__.strip("_")] = check
    return check


def check_file(file: ModuleFile, names: Iterable[str] = FILE_CHECKS) -> Iterator[Inconsistency]:
    """Yield what the checks of these names find in one file."""
    for name in names:
        for index, message in FILE_CHECKS[name](file):
            pulse = None if index is None else file.file.first_pulse + index
            yield Inconsistency(name, file.module, pulse, f"{file.file.path}: {message}")


@_of_file
def _size(file: ModuleFile) -> Iterator[tuple[int | None, str]]:
    """Check that the file has room for all records and the closing byte."""
    if not file.file.is_full_size:
        yield None, f"found {file.file.size} bytes, expected {file_bytes(file.shape)}: cut off"


@_of_file
def _closing_byte(file: ModuleFile) -> Iterator[tuple[int | None, str]]:
    """Check the byte behind the last record."""
    found = file.file.closing_byte
    if found is not None and found != CLOSING_BYTE:
        yield None, f"found closing byte {found:#04x}, expected {CLOSING_BYTE:#04x}"


@_of_file
def _marker(file: ModuleFile) -> Iterator[tuple[int | None, str]]:
    """Check that a place is a hole or holds a record."""
    markers = file.headers["marker"]
    expected = f"expected {FORMAT_MARKER:#04x} or, in a hole, 0x00"
    for index in file.places((markers != 0) & (markers != FORMAT_MARKER)):
        yield index, f"found marker {int(markers[index]):#04x} at byte {file.file.offset(index)}, {expected}"


@_of_file
def _truncated(file: ModuleFile) -> Iterator[tuple[int | None, str]]:
    """Check that no record is cut off by the end of the file."""
    index = file.file.whole_records
    if file.first <= index <= min(file.last, FILE_MOD - 1) and (torn := file.file.torn(index)):
        yield index, torn


@_of_file
def _pulse_id(file: ModuleFile) -> Iterator[tuple[int | None, str]]:
    """Check that a record lies at the place of its pulse."""
    found = file.headers["frame"]["pulse_id"]
    for index in file.places(file.held & (found != file.pulses)):
        offset = file.file.offset(index)
        yield index, f"found pulse_id {found[index]} at byte {offset}, the place of {file.pulses[index]}"


@_of_file
def _packets(file: ModuleFile) -> Iterator[tuple[int | None, str]]:
    """Check that a frame's packet count agrees with its missing-packet mask."""
    received = file.headers["frame"]["n_recv_packets"].astype(np.int64)
    expected = file.sidecars["expected_packets"].astype(np.int64)
    missing = np.unpackbits(file.sidecars["missing"], axis=1).sum(axis=1, dtype=np.int64)
    for index in file.places(file.held & file.known & (received != expected - missing)):
        due = f"{expected[index] - missing[index]}: {expected[index]} less the {missing[index]} of the missing-packet mask"
        yield index, f"found n_recv_packets {received[index]}, expected {due}"
    for index in file.places(file.held & ~file.known & (received == 0)):
        yield index, "found n_recv_packets 0, expected at least 1"


@_of_file
def _sidecar(file: ModuleFile) -> Iterator[tuple[int | None, str]]:
    """Check that a sidecar's entries belong to the records beside them."""
    found = file.sidecars["pulse_id"]
    for index in file.places(file.known & (found != file.pulses)):
        yield index, f"the sidecar has pulse_id {found[index]} at the place of {file.pulses[index]}"
    # A marker that is neither is a finding of its own.
    for index in file.places(file.known & (file.headers["marker"] == 0)):
        yield index, "the sidecar has an entry where the file has a hole: the record is lost"


@_of_file
def _crc(file: ModuleFile) -> Iterator[tuple[int | None, str]]:
    """Check that the pixels are those that were written."""
    for index in file.places(file.held & ((file.sidecars["flags"] & SIDECAR_HAS_CRC) != 0)):
        found, expected = crc32c(file.file.data(index).data), int(file.sidecars[index]["crc32c"])
        if found != expected:
            yield index, f"the pixels have CRC32C {found:#010x}, the sidecar says {expected:#010x}"


@_of_file
def _module_id(file: ModuleFile) -> Iterator[tuple[int | None, str]]:
    """Check that all records of a module carry the same module_id."""
    ids = file.headers["frame"]["module_id"]
    held = list(file.places(file.held))
    for index in held[1:]:
        if ids[index] != ids[held[0]]:
            yield index, f"found module_id {ids[index]}, expected {ids[held[0]]} as before it"


@_of_modules
def _agreement(files: dict[str, ModuleFile]) -> Iterator[tuple[str, int, str]]:
    """Check that all modules hold the same pulses."""
    somewhere = np.logical_or.reduce([file.held for file in files.values()])
    for module, file in files.items():
        for index in file.places(somewhere & ~file.held):
            others = ", ".join(name for name, other in files.items() if other.held[index])
            yield module, index, f"{module} has no record of the pulse that {others} has"


@_of_modules
def _trigger(files: dict[str, ModuleFile]) -> Iterator[tuple[str, int, str]]:
    """Check that the modules' records of a pulse are of the same trigger."""
    (_, reference), *others = files.items()
    for module, file in others:
        for name in ("frame_index", "daq_rec"):
            found, expected = file.headers["frame"][name], reference.headers["frame"][name]
            for index in file.places(file.held & reference.held & (found != expected)):
                yield module, index, f"found {name} {found[index]}, but {reference.module} has {expected[index]}"


def check_buffer(
    reader: BufferReader,
    start: int = 0,
    stop: int = LAST_PULSE,
    checked: Checked | None = None,
    progress: Progress | None = None,
) -> Iterator[Inconsistency]:
    """Yield what is inconsistent in the reader's modules between ``start`` and ``stop``; count into ``checked``.

    On a buffer that is being written, give a ``stop`` that all modules have passed.
    """
    checked = checked if checked is not None else Checked()
    for finding in _all(reader, start, stop, checked, progress):
        checked.findings += 1
        yield finding
    if (start, stop) == (0, LAST_PULSE) and not checked.records and not checked.findings:
        checked.findings += 1
        yield Inconsistency("records", "", None, f"{reader.folder}: its files hold no record, expected at least one")


def list_files(reader: BufferReader, start: int, stop: int) -> tuple[dict[int, list[str]], list[Inconsistency]]:
    """Return the modules that have a file by the first pulse of it, in order, and a finding for each unreadable folder."""
    holders: dict[int, list[str]] = {}
    findings: list[Inconsistency] = []
    for module in reader.modules:
        unreadable: list[BufferReadError] = []
        for first in data_files(reader.folder / module, start, stop, unreadable):
            holders.setdefault(first, []).append(module)
        findings += [Inconsistency("readable", module, None, str(error)) for error in unreadable]
    return dict(sorted(holders.items())), findings


def module_files(reader: BufferReader, module: str) -> list[Path]:
    """Return the data files of a module, in order of their pulses, without those that cannot be listed."""
    return [reader.path(number, module) for number in sorted(data_files(reader.folder / module, unreadable=[]))]


def open_files(
    reader: BufferReader, start: int, stop: int, first: int, modules: Iterable[str]
) -> Iterator[ModuleFile | Inconsistency]:
    """Yield the file that begins with pulse ``first`` of each of these modules, or the finding that it cannot be read."""
    places = max(start - first, 0), min(stop - first, FILE_MOD - 1)
    for module in modules:
        path = reader.path(first, module)
        if is_missing(path):
            continue
        try:
            yield ModuleFile(module, BinFile(path, reader.info.record), reader.info.record, *places)
        except BufferReadError as error:
            yield Inconsistency("readable", module, None, str(error))


def _all(
    reader: BufferReader, start: int, stop: int, checked: Checked, progress: Progress | None
) -> Iterator[Inconsistency]:
    holders, unreadable = list_files(reader, start, stop)
    yield from unreadable
    for module in reader.modules:
        if module in {finding.module for finding in unreadable}:
            continue
        yield from _records(reader, module)
        yield from _names(reader, module)
        yield from _latest(reader, module)
    for done, (first, modules) in enumerate(holders.items()):
        if progress:
            progress(done, len(holders))
        files: dict[str, ModuleFile] = {}
        for file in open_files(reader, start, stop, first, modules):
            if isinstance(file, Inconsistency):
                yield file
                continue
            files[file.module] = file
            _count(file, checked)
            yield from check_file(file)
        yield from _absent(reader, files, relative_path(first))
        if files:
            for check, compare in MODULES_CHECKS.items():
                for module, index, message in compare(files):
                    yield Inconsistency(check, module, first + index, message)


def _count(file: ModuleFile, checked: Checked) -> None:
    part = slice(file.first, file.last + 1)
    held, entries = file.held[part], file.sidecars[part]
    checked.files += 1
    checked.records += int(held.sum())
    checked.unchecked += int((held & ((entries["flags"] & SIDECAR_HAS_CRC) == 0)).sum())
    checked.incomplete += int((held & file.known[part] & entries["missing"].any(axis=1)).sum())


def _records(reader: BufferReader, module: str) -> Iterator[Inconsistency]:
    """Check that a module has a folder, and data files in it."""
    folder = reader.folder / module
    if is_missing(folder):
        yield Inconsistency("records", module, None, f"{folder}: is not there, expected the folder of a module")
    elif not module_files(reader, module):
        yield Inconsistency("records", module, None, f"{folder}: holds no data file, expected at least one")


def _names(reader: BufferReader, module: str) -> Iterator[Inconsistency]:
    """Check that data files have the names of their pulses."""
    ours = set(module_files(reader, module))
    for path in sorted((reader.folder / module).glob("*/*.bin")):
        if path not in ours:
            yield Inconsistency(
                "name",
                module,
                None,
                f"{path}: found a file of that name, expected first pulses like 12300000/12345000.bin",
            )


def _latest(reader: BufferReader, module: str) -> Iterator[Inconsistency]:
    """Check that LATEST, where there is one, names a data file that is there."""
    try:
        latest = reader.latest(module)
    except BufferReadError as error:
        yield Inconsistency("latest", module, None, str(error))
        return
    if latest and latest not in module_files(reader, module):
        path = reader.folder / module / LATEST
        yield Inconsistency("latest", module, None, f"{path}: names {str(latest)[:200]}, which is not there")


def _absent(reader: BufferReader, files: dict[str, ModuleFile], name: Path) -> Iterator[Inconsistency]:
    """Check that a file that some modules have, all have."""
    for module in reader.modules:
        if files and module not in files and is_missing(reader.folder / module / name):
            yield Inconsistency("agreement", module, None, f"{module} has no file {name}, which {', '.join(files)} has")
