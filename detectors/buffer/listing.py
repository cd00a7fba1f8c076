"""Which data folders and files lie in a module's folder, and the highest pulse in them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from detectors.buffer.binfile import BinFile
from detectors.buffer.layout import LAST_PULSE, relative_path
from detectors.buffer.registration import module_info
from detectors.errors import BufferReadError
from detectors.frame import FILE_MOD, FOLDER_MOD

_EMPTY_FILES: Final = 16
"""Files without a record that are looked through for the highest pulse; beyond, the next one counts as full."""


def _numbers_in(folder: Path, step: int, suffix: str = "", start: int = 0, stop: int = LAST_PULSE) -> Iterator[int]:
    """Yield the numbers of a folder's entries that begin ``step`` pulses, as far as the range has some of them.

    Entries of any other name are left out. Raises BufferReadError when the folder cannot be read.
    """
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return  # a module that has written nothing yet, or a data folder that retention took
    except OSError as error:
        raise BufferReadError(f"{folder}: cannot be read: {error.strerror}") from None
    for name in names:
        number = name.removesuffix(suffix)
        if number.isdecimal() and name == f"{int(number)}{suffix}":
            first = int(number)
            if first % step == 0 and first + step > start and first <= stop:
                yield first


def data_files(
    module_folder: Path, start: int = 0, stop: int = LAST_PULSE, unreadable: list[BufferReadError] | None = None
) -> Iterator[int]:
    """Yield the first pulses of a module's data files that can hold pulses of a range, in no order.

    Files of any other name are left out. A folder that cannot be read is added to ``unreadable`` and passed over; without
    that list it raises BufferReadError.
    """

    def listed(folder: Path, step: int, suffix: str, start: int, stop: int) -> list[int]:
        try:
            return list(_numbers_in(folder, step, suffix, start, stop))
        except BufferReadError as error:
            if unreadable is None:
                raise
            unreadable.append(error)
            return []

    for number in listed(module_folder, FOLDER_MOD, "", start, stop):
        first, last = max(start, number), min(stop, number + FOLDER_MOD - 1)
        yield from listed(module_folder / str(number), FILE_MOD, ".bin", first, last)


def newest_first(module_folder: Path) -> Iterator[int]:
    """Yield the first pulses of a module's data files, the highest first. Raises BufferReadError as ``data_files``."""
    for folder in sorted(_numbers_in(module_folder, FOLDER_MOD), reverse=True):
        yield from sorted(_numbers_in(module_folder / str(folder), FILE_MOD, ".bin"), reverse=True)


def highest_pulse(module_folder: Path) -> int | None:
    """Return the highest pulse_id that a module has on disk; None when it has none.

    Never less than the truth: a file that cannot be read counts as full, and so does the next one after many that hold
    nothing. Takes milliseconds however large the buffer is. Raises BufferReadError when a folder cannot be read.
    """
    for empty, first in enumerate(newest_first(module_folder)):
        path = module_folder / relative_path(first)
        last = _last_place(path, module_folder) if empty < _EMPTY_FILES else FILE_MOD - 1
        if last is not None:
            return first + last
    return None


def _last_place(path: Path, module_folder: Path) -> int | None:
    """Return the last place of a file that is not a hole."""
    try:
        file = BinFile(path, module_info(module_folder).record)
    except BufferReadError:
        return FILE_MOD - 1
    return next((index for index in reversed(range(FILE_MOD)) if file.marker(index)), None)
