"""The total of some images, and how it is kept in a file while others are still to be done."""

import io
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np

from detectors.buffer.atomic import write_atomically
from detectors.errors import HostError
from detectors.processing.function import Processing, Result
from detectors.processing.result_file import Counts

_COUNTS: Final = "counts"
_RESULT: Final = "result/"
"""Before the name of a result, which has no slash."""


@dataclass(frozen=True, slots=True)
class Total:
    """The combined result of some images; None when there was none."""

    counts: Counts = field(default_factory=Counts)
    result: Result | None = None

    def plus(self, other: "Total", processing: Processing) -> "Total":
        """Return the total of both; ``other`` is of later images."""
        counts = Counts(*(a + b for a, b in zip(astuple(self.counts), astuple(other.counts), strict=True)))
        if self.result is None or other.result is None:
            return Total(counts, other.result if self.result is None else self.result)
        return Total(counts, processing.combine(self.result, other.result))


def write_part(path: Path, total: Total) -> None:
    """Write a total; the file appears when it is whole. Raises HostError."""
    arrays: dict[str, Any] = {_RESULT + name: array for name, array in (total.result or {}).items()}
    arrays[_COUNTS] = np.array(astuple(total.counts))
    data = io.BytesIO()
    np.savez(data, **arrays)
    try:
        write_atomically(path, data.getvalue())
    except OSError as error:
        raise HostError(
            f"{path}: cannot be written: {error.strerror}; all workers must see the folder of the output, and have space there"
        ) from None


def read_part(path: Path) -> Total | None:
    """Return the total in a file; None when there is none that is whole."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            result = {name.removeprefix(_RESULT): arrays[name] for name in arrays.files if name != _COUNTS}
            return Total(Counts(*map(int, arrays[_COUNTS])), result or None)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
