"""What FOLDER stands for: the folder of a detector, or one that holds a single detector."""

from pathlib import Path

from detectors.buffer.inventory import detector_folders
from detectors.buffer.layout import LAST_PULSE
from detectors.buffer.reader import BufferReader
from detectors.errors import BufferReadError, ConfigError


def find_detectors(folder: Path) -> list[Path]:
    """Return the detector that a folder is, or those that it holds. Raises ConfigError when there is none."""
    try:
        return detector_folders(folder)
    except BufferReadError as error:
        raise ConfigError(str(error)) from None


def open_buffer(folder: Path, module: str | None = None) -> BufferReader:
    """Return a reader of the one detector in FOLDER, or of one module of it. Raises ConfigError."""
    found = find_detectors(folder)
    if len(found) > 1:
        names = ", ".join(one.name for one in found)
        raise ConfigError(f"{folder}: found {len(found)} detectors, expected one; give the folder of one of {names}")
    try:
        return BufferReader(found[0], module)
    except BufferReadError as error:
        raise ConfigError(str(error)) from None


def bounds(start: int | None, stop: int | None) -> tuple[int, int]:
    """Return the bounds of a search: what is left out is no bound."""
    return 0 if start is None else start, LAST_PULSE if stop is None else stop


def recorded_bounds(reader: BufferReader, start: int | None, stop: int | None) -> tuple[int, int]:
    """Return the first and the last pulse of a range: what is left out is that of any module; 0 when there is none."""
    extents = [found for found in map(reader.extent, reader.modules) if found]
    if start is None:
        start = min((first for first, _ in extents), default=0)
        start = start if stop is None else min(start, stop)
    return start, max([start, *(last for _, last in extents)]) if stop is None else stop
