"""Where a pulse lies on disk: path and offset follow from the pulse_id alone. Pure.

Source: sf-buffer. (Its documents print ``%`` where integer division is meant: pulse 12345999 lies in
``12300000/12345000.bin``.)
"""

from pathlib import Path
from typing import Final

from detectors.frame import FILE_MOD, FOLDER_MOD, RecordShape

LATEST: Final = "LATEST"
"""File in a module's folder that names the last closed data file, relative to that folder."""

LAST_PULSE: Final = (1 << 63) - 1
"""Largest pulse_id that a range may name."""

DETECTOR_JSON: Final = "detector.json"
"""File in a detector's folder that records modules, dtype, shape and bytes of their data."""

MODULE_JSON: Final = "module.json"
"""File in a module's folder that records the same of this module."""


def data_file(pulse_id: int) -> int:
    """Return the number of the data file: the first pulse that it can hold."""
    return pulse_id // FILE_MOD * FILE_MOD


def relative_path(pulse_id: int) -> Path:
    """Return a pulse's file, relative to its module's folder: ``12300000/12345000.bin``."""
    return Path(str(pulse_id // FOLDER_MOD * FOLDER_MOD)) / f"{data_file(pulse_id)}.bin"


def sidecar_path(data_path: Path) -> Path:
    """Return the sidecar beside a data file: ``12345000.meta``."""
    return data_path.with_suffix(".meta")


def file_bytes(shape: RecordShape) -> int:
    """Return the size of a full-size file: all records and the closing byte."""
    return FILE_MOD * shape.record_bytes + 1
