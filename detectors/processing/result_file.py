"""What a user's function has made of a range, as an HDF5 file.

::

    /result/<name>   each result, by its name; a bare value is "value"
    /result          attributes: what was asked for, and the counts of ``Counts``
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from detectors.buffer.registration import software_version
from detectors.outputs.hdf5.schema import atomic_file
from detectors.outputs.hdf5.selection import PulseRange
from detectors.processing.function import Result


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the pulses of a range."""

    images: int = 0
    """Images that the function was called with."""
    incomplete: int = 0
    """Of these, images that lack modules, and are zeros there."""
    unreadable: int = 0
    """Pulses of which there is a record, but none that could be read."""
    unreadable_files: int = 0
    """Files that could not be read at all: what they hold is not known."""


@dataclass(frozen=True, slots=True)
class Processed:
    """A result, and what it is of."""

    function: str
    detector: str
    modules: tuple[str, ...]
    pulses: PulseRange
    counts: Counts
    result: Result


def write_result(path: Path, processed: Processed) -> None:
    """Write a result to a new file. Raises HostError when it is there already or cannot be written."""
    with atomic_file(path) as (file, _):
        file.attrs["creator"] = f"pebbledaq {software_version()}".strip()
        group = file.create_group("result")
        group.attrs["function"] = processed.function
        group.attrs["detector"] = processed.detector
        group.attrs["modules"] = list(processed.modules)
        for name, number in {**asdict(processed.pulses), **asdict(processed.counts)}.items():
            group.attrs[name] = np.int64(number)
        for name, array in processed.result.items():
            group[name] = array
