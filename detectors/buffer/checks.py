"""Is a buffer consistent with itself: checks that yield findings.

Those of ``file_checks`` look at one file, MODULES_CHECKS compare the files of the modules.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass, field, fields
from functools import partial
from typing import Final, Self

import numpy as np

from detectors.buffer.binfile import BinFile
from detectors.buffer.file_checks import Inconsistency, ModuleFile, check_file
from detectors.buffer.layout import LAST_PULSE, LATEST, relative_path
from detectors.buffer.listing import data_files
from detectors.buffer.reader import BufferReader
from detectors.buffer.regular import is_missing
from detectors.errors import BufferReadError
from detectors.frame import FILE_MOD, SIDECAR_HAS_CRC


@dataclass(slots=True)
class Checked:
    """What was checked."""

    files: int = 0
    records: int = 0
    incomplete: int = 0
    """Frames with missing packets: a loss that was counted when it happened, not an inconsistency."""
    unchecked: int = 0
    """Records without a CRC: written without a sidecar or without CRCs, or by a writer that was killed."""
    images: int = 0
    """Images of an HDF5 file compared."""
    findings: int = 0

    def add(self, other: "Checked") -> None:
        """Count what is in another."""
        for each, number in zip(fields(self), astuple(other), strict=True):
            setattr(self, each.name, getattr(self, each.name) + number)


@dataclass(frozen=True, slots=True)
class ModuleHeads:
    """What of one file is compared with those of other modules."""

    module: str
    first_pulse: int
    first: int
    """First and last place asked for."""
    last: int
    frames: np.ndarray
    """MODULE_FRAME[FILE_MOD]."""
    held: np.ndarray
    """bool[FILE_MOD]: where whole records lie."""

    @classmethod
    def of(cls, file: ModuleFile) -> Self:
        """Return the heads of a file."""
        return cls(file.module, file.file.first_pulse, file.first, file.last, file.headers["frame"], file.held)

    def places(self, mask: np.ndarray) -> Iterator[int]:
        """Yield the places asked for at which ``mask``, bool[FILE_MOD], is set."""
        for index in np.flatnonzero(mask[self.first : self.last + 1]):
            yield self.first + int(index)


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """What came out for one file of a module."""

    module: str
    findings: list[Inconsistency]
    counts: Checked = field(default_factory=Checked)
    heads: ModuleHeads | None = None
    """None when it cannot be read."""


Progress = Callable[[int, int], None]
"""Called with how many files, jobs or images are done, and how many there are in all."""
Holders = Mapping[int, list[str]]
"""The first pulse of each file, and the modules that have it."""
CheckAll = Callable[[Holders], Iterator[list[CheckedFile]]]
"""Yields the files of each first pulse, in order of the pulses and modules."""
ModulesCheck = Callable[[dict[str, ModuleHeads]], Iterator[tuple[str, int, str]]]
"""Yields the module and the place of each inconsistency, and what is wrong."""


def _agreement(files: dict[str, ModuleHeads]) -> Iterator[tuple[str, int, str]]:
    """Check that all modules hold the same pulses."""
    somewhere = np.logical_or.reduce([file.held for file in files.values()])
    for module, file in files.items():
        for index in file.places(somewhere & ~file.held):
            others = ", ".join(name for name, other in files.items() if other.held[index])
            yield module, index, f"{module} has no record of the pulse that {others} has"


def _trigger(files: dict[str, ModuleHeads]) -> Iterator[tuple[str, int, str]]:
    """Check that the modules' records of a pulse are of the same trigger."""
    (_, reference), *others = files.items()
    for module, file in others:
        for name in ("frame_index", "daq_rec"):
            found, expected = file.frames[name], reference.frames[name]
            for index in file.places(file.held & reference.held & (found != expected)):
                yield module, index, f"found {name} {found[index]}, but {reference.module} has {expected[index]}"


MODULES_CHECKS: Final[dict[str, ModulesCheck]] = {"agreement": _agreement, "trigger": _trigger}


def check_buffer(
    reader: BufferReader,
    start: int = 0,
    stop: int = LAST_PULSE,
    checked: Checked | None = None,
    *,
    check_all: CheckAll | None = None,
) -> Iterator[Inconsistency]:
    """Yield what is inconsistent in the reader's modules between ``start`` and ``stop``; count into ``checked``.

    On a buffer that is being written, give a ``stop`` that all modules have passed. ``check_all`` may check the files
    elsewhere.
    """
    checked = checked if checked is not None else Checked()
    for finding in _all(reader, start, stop, checked, check_all or partial(_check_here, reader, start, stop)):
        checked.findings += 1
        yield finding
    if (start, stop) == (0, LAST_PULSE) and not checked.records and not checked.findings:
        checked.findings += 1
        yield Inconsistency(
            "records", "", None, f"{reader.data_set.path}: its files hold no record, expected at least one"
        )


def check_files(reader: BufferReader, first: int, modules: list[str], start: int, stop: int) -> list[CheckedFile]:
    """Return what comes out for the files of these modules that begin with pulse ``first``."""
    return [_checked(found) for found in _open(reader, first, modules, start, stop)]


def _checked(found: ModuleFile | Inconsistency) -> CheckedFile:
    if isinstance(found, Inconsistency):
        return CheckedFile(found.module, [found])
    return CheckedFile(found.module, list(check_file(found)), _counts(found), ModuleHeads.of(found))


def _check_here(reader: BufferReader, start: int, stop: int, holders: Holders) -> Iterator[list[CheckedFile]]:
    return (check_files(reader, first, modules, start, stop) for first, modules in holders.items())


def open_files(
    reader: BufferReader, start: int, stop: int, progress: Progress | None
) -> Iterator[list[ModuleFile | Inconsistency]]:
    """Yield the files of each range of pulses, of all modules, in order of the pulses.

    A folder or file that cannot be read is a finding instead; those of the folders come first.
    """
    holders, findings = _holders(reader, start, stop)
    yield list(findings)
    for done, (first, modules) in enumerate(holders.items()):
        if progress:
            progress(done, len(holders))
        yield _open(reader, first, modules, start, stop)


def _holders(reader: BufferReader, start: int, stop: int) -> tuple[dict[int, list[str]], list[Inconsistency]]:
    """Return which modules have which files, in order of the pulses, and what cannot be read."""
    holders: dict[int, list[str]] = {}
    findings: list[Inconsistency] = []
    for module in reader.modules:
        if module in reader.missing:
            findings.append(Inconsistency("host", module, None, reader.missing[module]))
            continue
        unreadable: list[BufferReadError] = []
        for first in data_files(reader.data_set.folder(module), start, stop, unreadable):
            holders.setdefault(first, []).append(module)
        findings += [Inconsistency("readable", module, None, str(error)) for error in unreadable]
    return dict(sorted(holders.items())), findings


def _open(
    reader: BufferReader, first: int, modules: list[str], start: int, stop: int
) -> list[ModuleFile | Inconsistency]:
    places = max(start - first, 0), min(stop - first, FILE_MOD - 1)
    files: list[ModuleFile | Inconsistency] = []
    for module in modules:
        if not reader.has_file(first, module):
            continue
        try:
            files.append(ModuleFile(module, BinFile(reader.path(first, module), reader.info.record), *places))
        except BufferReadError as error:
            files.append(Inconsistency("readable", module, None, str(error)))
    return files


def _all(reader: BufferReader, start: int, stop: int, checked: Checked, check_all: CheckAll) -> Iterator[Inconsistency]:
    for module in reader.modules:
        if module not in reader.missing:
            yield from _folder(reader, module)
    holders, findings = _holders(reader, start, stop)
    yield from findings
    for files in check_all(holders):
        for file in files:
            checked.add(file.counts)
            yield from file.findings
        yield from _compared(reader, {file.module: file.heads for file in files if file.heads})


def _compared(reader: BufferReader, files: dict[str, ModuleHeads]) -> Iterator[Inconsistency]:
    """Compare the files of the modules that begin with the same pulse."""
    if not files:
        return
    first = next(iter(files.values())).first_pulse
    name = relative_path(first)
    for module in reader.modules:
        if module not in files and module not in reader.missing and not reader.has_file(first, module):
            having = ", ".join(files)
            yield Inconsistency("agreement", module, None, f"{module} has no file {name}, which {having} has")
    for check, compare in MODULES_CHECKS.items():
        for module, index, message in compare(files):
            yield Inconsistency(check, module, first + index, message)


def _counts(file: ModuleFile) -> Checked:
    part = slice(file.first, file.last + 1)
    held, entries = file.held[part], file.sidecars[part]
    return Checked(
        files=1,
        records=int(held.sum()),
        incomplete=int((held & file.known[part] & entries["missing"].any(axis=1)).sum()),
        unchecked=int((held & ((entries["flags"] & SIDECAR_HAS_CRC) == 0)).sum()),
    )


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
