"""Is a buffer consistent with itself: checks that yield findings.

FILE_CHECKS look at one file, MODULES_CHECKS compare the files of the modules.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from crc32c import crc32c

from detectors.buffer.binfile import BinFile
from detectors.buffer.layout import LAST_PULSE, LATEST, relative_path, sidecar_path
from detectors.buffer.listing import data_files
from detectors.buffer.reader import BufferReader
from detectors.buffer.regular import is_missing, readable
from detectors.buffer.sidecar import read_sidecar
from detectors.errors import BufferReadError
from detectors.frame import CLOSING_BYTE, FILE_MOD, FORMAT_MARKER, SIDECAR_HAS_CRC, SIDECAR_PRESENT


@dataclass(frozen=True, slots=True)
class Inconsistency:
    """One inconsistency. ``pulse`` is None where it concerns a whole file or module."""

    check: str
    module: str
    pulse: int | None
    message: str


@dataclass(slots=True)
class Checked:
    """What was checked."""

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
"""Called with the files checked and the files in all."""
FileCheck = Callable[[ModuleFile], Iterator[tuple[int | None, str]]]
"""Yields the place of each inconsistency, None where it concerns the whole file, and what is wrong."""
ModulesCheck = Callable[[dict[str, ModuleFile]], Iterator[tuple[str, int, str]]]
"""Yields the module and the place of each inconsistency, and what is wrong."""


def _size(file: ModuleFile) -> Iterator[tuple[int | None, str]]:
    """Check that the file has room for all records and the closing byte."""
    if not file.file.is_full_size:
        yield None, f"found {file.file.size} bytes, expected {file.file.full_size}: cut off"


def _closing_byte(file: ModuleFile) -> Iterator[tuple[int | None, str]]:
    """Check the byte behind the last record."""
    found = file.file.closing_byte
    if found is not None and found != CLOSING_BYTE:
        yield None, f"found closing byte {found:#04x}, expected {CLOSING_BYTE:#04x}"


def _marker(file: ModuleFile) -> Iterator[tuple[int | None, str]]:
    """Check that a place is a hole or holds a record."""
    markers = file.headers["marker"]
    expected = f"expected {FORMAT_MARKER:#04x} or, in a hole, 0x00"
    for index in file.places((markers != 0) & (markers != FORMAT_MARKER)):
        yield index, f"found marker {int(markers[index]):#04x} at byte {file.file.offset(index)}, {expected}"


def _truncated(file: ModuleFile) -> Iterator[tuple[int | None, str]]:
    """Check that no record is cut off by the end of the file."""
    index = file.file.whole_records
    if file.first <= index <= min(file.last, FILE_MOD - 1) and (torn := file.file.torn(index)):
        yield index, torn


def _pulse_id(file: ModuleFile) -> Iterator[tuple[int | None, str]]:
    """Check that a record lies at the place of its pulse."""
    found = file.headers["frame"]["pulse_id"]
    for index in file.places(file.held & (found != file.pulses)):
        offset = file.file.offset(index)
        yield index, f"found pulse_id {found[index]} at byte {offset}, the place of {file.pulses[index]}"


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


def _sidecar(file: ModuleFile) -> Iterator[tuple[int | None, str]]:
    """Check that a sidecar's entries belong to the records beside them."""
    found = file.sidecars["pulse_id"]
    for index in file.places(file.known & (found != file.pulses)):
        yield index, f"the sidecar has pulse_id {found[index]} at the place of {file.pulses[index]}"
    # A marker that is neither is a finding of its own.
    for index in file.places(file.known & (file.headers["marker"] == 0)):
        yield index, "the sidecar has an entry where the file has a hole: the record is lost"


def _crc(file: ModuleFile) -> Iterator[tuple[int | None, str]]:
    """Check that the pixels are those that were written."""
    for index in file.places(file.held & ((file.sidecars["flags"] & SIDECAR_HAS_CRC) != 0)):
        found, expected = crc32c(file.file.data(index).data), int(file.sidecars[index]["crc32c"])
        if found != expected:
            yield index, f"the pixels have CRC32C {found:#010x}, the sidecar says {expected:#010x}"


def _module_id(file: ModuleFile) -> Iterator[tuple[int | None, str]]:
    """Check that all records of a module carry the same module_id."""
    ids = file.headers["frame"]["module_id"]
    expected = ids[next(file.places(file.held), 0)]
    for index in file.places(file.held & (ids != expected)):
        yield index, f"found module_id {ids[index]}, expected {expected} as before it"


def _agreement(files: dict[str, ModuleFile]) -> Iterator[tuple[str, int, str]]:
    """Check that all modules hold the same pulses."""
    somewhere = np.logical_or.reduce([file.held for file in files.values()])
    for module, file in files.items():
        for index in file.places(somewhere & ~file.held):
            others = ", ".join(name for name, other in files.items() if other.held[index])
            yield module, index, f"{module} has no record of the pulse that {others} has"


def _trigger(files: dict[str, ModuleFile]) -> Iterator[tuple[str, int, str]]:
    """Check that the modules' records of a pulse are of the same trigger."""
    (_, reference), *others = files.items()
    for module, file in others:
        for name in ("frame_index", "daq_rec"):
            found, expected = file.headers["frame"][name], reference.headers["frame"][name]
            for index in file.places(file.held & reference.held & (found != expected)):
                yield module, index, f"found {name} {found[index]}, but {reference.module} has {expected[index]}"


FILE_CHECKS: Final[dict[str, FileCheck]] = {
    check.__name__.strip("_"): check
    for check in (_size, _closing_byte, _marker, _truncated, _pulse_id, _packets, _sidecar, _crc, _module_id)
}
MODULES_CHECKS: Final[dict[str, ModulesCheck]] = {"agreement": _agreement, "trigger": _trigger}

TORN_CHECKS: Final = ("marker", "truncated", "pulse_id", "crc")
"""Checks whose findings mean that a record cannot be trusted: repair makes holes of these."""


def check_file(file: ModuleFile, names: Iterable[str] = FILE_CHECKS) -> Iterator[Inconsistency]:
    """Yield what the checks of these names find in one file."""
    for name in names:
        for index, message in FILE_CHECKS[name](file):
            pulse = None if index is None else file.file.first_pulse + index
            yield Inconsistency(name, file.module, pulse, f"{file.file.path}: {message}")


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
        yield Inconsistency(
            "records", "", None, f"{reader.data_set.path}: its files hold no record, expected at least one"
        )


def open_files(
    reader: BufferReader, start: int, stop: int, progress: Progress | None
) -> Iterator[list[ModuleFile | Inconsistency]]:
    """Yield the files of each range of pulses, of all modules, in order of the pulses.

    A folder or file that cannot be read is a finding instead; those of the folders come first.
    """
    holders: dict[int, list[str]] = {}
    for module in reader.modules:
        if module in reader.missing:
            yield [Inconsistency("host", module, None, reader.missing[module])]
            continue
        unreadable: list[BufferReadError] = []
        for first in data_files(reader.data_set.folder(module), start, stop, unreadable):
            holders.setdefault(first, []).append(module)
        yield [Inconsistency("readable", module, None, str(error)) for error in unreadable]
    for done, first in enumerate(sorted(holders)):
        if progress:
            progress(done, len(holders))
        places = max(start - first, 0), min(stop - first, FILE_MOD - 1)
        files: list[ModuleFile | Inconsistency] = []
        for module in holders[first]:
            if not reader.has_file(first, module):
                continue
            try:
                files.append(ModuleFile(module, BinFile(reader.path(first, module), reader.info.record), *places))
            except BufferReadError as error:
                files.append(Inconsistency("readable", module, None, str(error)))
        yield files


def _all(
    reader: BufferReader, start: int, stop: int, checked: Checked, progress: Progress | None
) -> Iterator[Inconsistency]:
    for module in reader.modules:
        if module not in reader.missing:
            yield from _folder(reader, module)
    for found in open_files(reader, start, stop, progress):
        files = {file.module: file for file in found if isinstance(file, ModuleFile)}
        for file in found:
            if isinstance(file, Inconsistency):
                yield file
            else:
                _count(file, checked)
                yield from check_file(file)
        if not files:
            continue
        first = next(iter(files.values())).file.first_pulse
        name = relative_path(first)
        for module in reader.modules:
            if module not in files and module not in reader.missing and not reader.has_file(first, module):
                having = ", ".join(files)
                yield Inconsistency("agreement", module, None, f"{module} has no file {name}, which {having} has")
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


def _folder(reader: BufferReader, module: str) -> Iterator[Inconsistency]:
    """Check that a module has data files, that they have the names of their pulses, and that LATEST names one of them."""
    folder = reader.data_set.folder(module)
    unreadable: list[BufferReadError] = []
    files = {reader.path(number, module) for number in data_files(folder, unreadable=unreadable)}
    if unreadable:
        return  # a finding of ``open_files``
    if is_missing(folder):
        yield Inconsistency("records", module, None, f"{folder}: is not there, expected the folder of a module")
    elif not files:
        yield Inconsistency("records", module, None, f"{folder}: holds no data file, expected at least one")
    for path in sorted(set(folder.glob("*/*.bin")) - files):
        message = f"{path}: found a file of that name, expected first pulses like 12300000/12345000.bin"
        yield Inconsistency("name", module, None, message)
    try:
        latest = reader.latest(module)
    except BufferReadError as error:
        yield Inconsistency("latest", module, None, str(error))
        return
    if latest and latest not in files:
        message = f"{folder / LATEST}: names {str(latest)[:200]}, which is not there"
        yield Inconsistency("latest", module, None, message)
