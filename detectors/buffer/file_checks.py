"""Is one file of a module consistent with itself and its sidecar: checks that yield findings."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from crc32c import crc32c

from detectors.buffer.binfile import BinFile
from detectors.buffer.layout import sidecar_path
from detectors.buffer.regular import reading
from detectors.buffer.sidecar import read_sidecar
from detectors.frame import CLOSING_BYTE, FILE_MOD, FORMAT_MARKER, SIDECAR_HAS_CRC, SIDECAR_PRESENT


@dataclass(frozen=True, slots=True)
class Inconsistency:
    """One inconsistency. ``pulse`` is None where it concerns a whole file or module."""

    check: str
    module: str
    pulse: int | None
    message: str


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
        with reading(sidecar):
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


FileCheck = Callable[[ModuleFile], Iterator[tuple[int | None, str]]]
"""Yields the place of each inconsistency, None where it concerns the whole file, and what is wrong."""


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


FILE_CHECKS: Final[dict[str, FileCheck]] = {
    check.__name__.strip("_"): check
    for check in (_size, _closing_byte, _marker, _truncated, _pulse_id, _packets, _sidecar, _crc, _module_id)
}

TORN_CHECKS: Final = ("marker", "truncated", "pulse_id", "crc")
"""Checks whose findings mean that a record cannot be trusted: repair makes holes of these."""


def check_file(file: ModuleFile, names: Iterable[str] = FILE_CHECKS) -> Iterator[Inconsistency]:
    """Yield what the checks of these names find in one file."""
    for name in names:
        for index, message in FILE_CHECKS[name](file):
            pulse = None if index is None else file.file.first_pulse + index
            yield Inconsistency(name, file.module, pulse, f"{file.file.path}: {message}")
