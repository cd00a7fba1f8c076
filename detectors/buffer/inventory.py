"""What is in a buffer: which pulses each module holds, what is missing, what is damaged, and how much space it takes."""

from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from detectors.buffer.checks import Progress, open_files
from detectors.buffer.file_checks import Inconsistency, ModuleFile
from detectors.buffer.layout import LAST_PULSE, sidecar_path
from detectors.buffer.reader import BufferReader


@dataclass(slots=True)
class ModuleInventory:
    """What one module holds."""

    files: int = 0
    disk_bytes: int = 0
    """Space that its data files and sidecars take; holes take none."""
    records: int = 0
    ranges: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """First and last pulse of each run without a hole, in order."""
    holes: int = 0
    """Pulses between the first and the last that it does not hold."""
    incomplete: int = 0
    """Frames that lack packets."""
    damaged: int = 0
    """Frames with a damage bit, those that lack packets among them."""
    torn: int = 0
    """Records that are not whole: ``repair`` marks them as holes."""
    begin_ns: int = 0
    """POSIX time of the first frame whose time is known, ns; 0: none is."""
    end_ns: int = 0
    """Of the last."""


@dataclass(slots=True)
class Inventory:
    """What the folder of one detector holds."""

    modules: dict[str, ModuleInventory]
    step: int = 1
    """Smallest distance of two pulses of a module: they should all be so far apart."""
    whole: int = 0
    """Pulses that every module holds."""
    partial: int = 0
    """Pulses that some modules lack."""
    unreadable: list[str] = field(default_factory=list[str])
    """Files and folders that cannot be read, and why."""


def take_inventory(
    reader: BufferReader, start: int = 0, stop: int = LAST_PULSE, progress: Progress | None = None
) -> Inventory:
    """Look through the headers and the sidecars of a range of pulses. Of a buffer that is being written, what is there now."""
    found = Inventory({module: ModuleInventory() for module in reader.modules})
    pulses: dict[str, list[np.ndarray]] = {module: [] for module in reader.modules}
    for files in open_files(reader, start, stop, progress):
        for file in files:
            if isinstance(file, Inconsistency):
                found.unreadable.append(f"{file.module}: {file.message}")
                continue
            _add(found.modules[file.module], file)
            pulses[file.module].append(file.pulses[file.held & _asked(file)])
    held = {module: np.concatenate(parts or [np.zeros(0, np.uint64)]) for module, parts in pulses.items()}
    steps = [int(np.diff(one).min()) for one in held.values() if one.size > 1]
    found.step = min(steps, default=1)
    for module, one in held.items():
        _set_ranges(found.modules[module], one, found.step)
    _, counts = np.unique(np.concatenate(list(held.values())), return_counts=True)
    found.whole = int((counts == len(held)).sum())
    found.partial = int((counts < len(held)).sum())
    return found


def _asked(file: ModuleFile) -> np.ndarray:
    """Return which places of a file are in the range, bool[FILE_MOD]."""
    places = np.arange(len(file.held))
    return (file.first <= places) & (places <= file.last)


def _add(module: ModuleInventory, file: ModuleFile) -> None:
    held, entries = file.held & _asked(file), file.sidecars
    known = held & file.known
    module.files += 1
    module.records += int(held.sum())
    module.torn += int(((file.headers["marker"] != 0) & ~file.held & _asked(file)).sum())
    module.incomplete += int((known & entries["missing"].any(axis=1)).sum())
    module.damaged += int((known & (entries["damage"] != 0)).sum())
    times = entries["timestamp_ns"][known & (entries["timestamp_ns"] != 0)]
    if times.size:
        module.begin_ns = module.begin_ns or int(times[0])
        module.end_ns = int(times[-1])
    for path in (file.file.path, sidecar_path(file.file.path)):
        with suppress(FileNotFoundError):
            module.disk_bytes += path.stat().st_blocks * 512


def _set_ranges(module: ModuleInventory, held: np.ndarray, step: int) -> None:
    if not held.size:
        return
    ends = np.flatnonzero(np.diff(held) != step)
    starts, stops = held[np.r_[0, ends + 1]], held[np.r_[ends, held.size - 1]]
    module.ranges = [(int(start), int(stop)) for start, stop in zip(starts, stops, strict=True)]
    module.holes = (int(held[-1]) - int(held[0])) // step + 1 - held.size
