"""What lies in the buffer to an HDF5 file, by pulse_id or by time: a process of its own, so that no capture waits for it.

``python -m detectors.outputs.hdf5.retro FOLDER START STOP MODE FILE NOW_NS``: prints one line of JSON, ``images`` and ``message``, or
``error``. ``NOW_NS`` is when the file was asked for: the process starts later.
"""

import json
import os
import sys
from bisect import bisect_right
from pathlib import Path
from typing import Final

import numpy as np

from detectors.buffer.reader import BufferReader
from detectors.errors import BufferReadError, HostError, PebbleDaqError
from detectors.frame import SIDECAR_PRESENT
from detectors.outputs.hdf5.copy import write_file
from detectors.outputs.hdf5.selection import PulseRange
from detectors.outputs.hdf5.view import write_view

_LATER: Final = 1 << 63


def write_retro(
    folder: Path, start: float, stop: float, path: Path, *, now_ns: int, copy: bool = False
) -> tuple[int, str]:
    """Write a range of the buffer to a new file; return how many images it has, and what is not in them: pulses, or whole hosts.

    A bound above 0 is a pulse_id, else seconds before ``now_ns``, a time since 1970; a ``stop`` of 0 is the newest pulse. Raises HostError
    when the file is there already, BufferReadError when the buffer has none of the range, and what ``write_file`` raises.
    """
    if path.exists():
        raise HostError(f"{path}: is there already; choose another FileName")
    with BufferReader(folder) as reader:
        extents = [extent for module in reader.modules if (extent := reader.extent(module))]
        if not extents:
            raise BufferReadError(f"{folder}: the buffer holds nothing")
        oldest, newest = min(first for first, _ in extents), max(last for _, last in extents)
        first = int(start) if start > 0 else pulse_after(reader, now_ns + round(start * 1e9), newest + 1)
        last = (
            int(stop)
            if stop > 0
            else newest
            if stop == 0
            else pulse_after(reader, now_ns + round(stop * 1e9), newest + 1) - 1
        )
        if last < oldest or first > newest or first > last:
            raise BufferReadError(
                f"the buffer holds nothing of pulses {first} to {last}: {reader.extents_text()}; "
                "what is older was deleted by retention or was never written"
            )
        pulses = PulseRange(first, last)
        images = write_file(reader, pulses, path) if copy else write_view(reader, pulses, path)
        early = f"pulses before {oldest} are not in the buffer: deleted by retention, or never written"
        notes = [early] if first < oldest and start > 0 else []
    return images, "; ".join([*notes, *reader.data_set.missing_hosts()])


def pulse_after(reader: BufferReader, then_ns: int, nothing: int) -> int:
    """Return the first pulse that came at ``then_ns`` or later, of any module, by the times in the sidecars; else ``nothing``."""
    return min(_pulse_after(reader, module, then_ns, nothing) for module in reader.modules)


def _pulse_after(reader: BufferReader, module: str, then_ns: int, nothing: int) -> int:
    numbers = reader.file_numbers(module=module)

    def times(number: int) -> tuple[np.ndarray, np.ndarray]:
        entries = reader.sidecars(number, module)
        entries = entries[(entries["flags"] & SIDECAR_PRESENT) != 0]
        return entries["pulse_id"], entries["timestamp_ns"]

    def begins(number: int) -> int:
        found = times(number)[1]
        return int(found[0]) if len(found) else _LATER

    place = bisect_right(numbers, then_ns, key=begins)
    for number in numbers[max(0, place - 1) : place + 1]:
        pulses, found = times(number)
        later = pulses[found >= then_ns]
        if len(later):
            return int(later[0])
    return nothing


def main() -> None:
    """Write as the arguments say."""
    folder, start, stop, mode, path, now_ns = sys.argv[1:]
    os.nice(10)  # data that is being taken goes first
    try:
        images, message = write_retro(
            Path(folder), float(start), float(stop), Path(path), now_ns=int(now_ns), copy=mode == "Copy"
        )
        answer = {"images": images, "message": message}
    except PebbleDaqError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))  # noqa: T201


if __name__ == "__main__":
    main()
