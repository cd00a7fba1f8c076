"""What FOLDER stands for: the folder of a detector, one that holds a single detector, or the map of a data set."""

from pathlib import Path

import click

from detectors.buffer.data_set import DataSet, data_sets
from detectors.buffer.layout import LAST_PULSE
from detectors.buffer.reader import BufferReader
from detectors.errors import BufferReadError, ConfigError


def find_detectors(folder: Path) -> list[DataSet]:
    """Return the detector that FOLDER is, or those that it holds. Raises ConfigError when there is none."""
    try:
        return data_sets(folder)
    except BufferReadError as error:
        raise ConfigError(str(error)) from None


def open_buffer(folder: Path | DataSet, module: str | None = None) -> BufferReader:
    """Return a reader of the one detector in FOLDER, or of one module of it. Raises ConfigError."""
    try:
        return BufferReader(folder, module)
    except BufferReadError as error:
        raise ConfigError(str(error)) from None


def open_to_use(folder: Path, module: str | None = None) -> BufferReader:
    """Return the same, and say on standard error which hosts are missing: what is made without them has zeros in their place."""
    reader = open_buffer(folder, module)
    for line in reader.data_set.missing_hosts():
        click.echo(f"pebbledaq: {line}", err=True)
    return reader


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
