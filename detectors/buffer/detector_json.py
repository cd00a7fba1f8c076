"""``detector.json``: what a reader must know of a detector's records, so that it needs no configuration."""

import fcntl
import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import numpy as np

from detectors.buffer.atomic import write_atomically
from detectors.buffer.fields import Field
from detectors.buffer.layout import DETECTOR_JSON
from detectors.errors import BufferReadError, ConfigError
from detectors.frame import FILE_MOD, FOLDER_MOD, RecordShape


@dataclass(frozen=True, slots=True)
class DetectorInfo:
    """The records of one detector folder."""

    dtype: str
    """numpy name of the pixel type, little-endian."""
    shape: tuple[int, ...]
    """Shape of one module's frame, slowest dimension first."""
    data_bytes: int
    """Pixels of one module's frame, bytes. More than dtype and shape say only when the source pads them."""
    modules: tuple[str, ...]
    """Names of the module folders, sorted."""
    software: str = ""
    """Version that made the folder."""
    fields: tuple[Field, ...] = ()
    """Arrays that the data is made of, where several PVs are a detector; none where it is one."""

    @property
    def record(self) -> RecordShape:
        """Layout of one record."""
        return RecordShape(self.data_bytes)

    @property
    def numpy_dtype(self) -> np.dtype:
        """Pixel type, little-endian."""
        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def pixel_bytes(self) -> int:
        """Bytes of the frame that are pixels."""
        return math.prod(self.shape) * self.numpy_dtype.itemsize

    def to_json(self) -> bytes:
        """Return the text of the file."""
        tree = {
            "format": 1,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "data_bytes": self.data_bytes,
            "record_bytes": self.record.record_bytes,
            "file_mod": FILE_MOD,
            "folder_mod": FOLDER_MOD,
            "modules": list(self.modules),
            "software": self.software,
        }
        if self.fields:
            tree["fields"] = [field.as_dict() for field in self.fields]
        return json.dumps(tree, indent=1).encode() + b"\n"

    @classmethod
    def from_json(cls, text: bytes | str, origin: Path | str) -> Self:
        """Return what the text of the file ``origin`` says. Raises BufferReadError when it says nothing usable."""
        try:
            tree: dict[str, Any] = json.loads(text)
            info = cls(
                dtype=np.dtype(tree["dtype"]).name,
                shape=tuple(int(n) for n in tree["shape"]),
                data_bytes=int(tree["data_bytes"]),
                modules=tuple(sorted(str(m) for m in tree["modules"])),
                software=str(tree.get("software", "")),
                fields=tuple(Field.from_dict(field) for field in tree.get("fields", ())),
            )
            mods = tree.get("file_mod", FILE_MOD), tree.get("folder_mod", FOLDER_MOD)
        except (ValueError, KeyError, TypeError) as error:
            raise BufferReadError(
                f"{origin}: found no usable description of a detector ({type(error).__name__}: {error}), expected "
                "dtype, shape, data_bytes and modules; restore the file, or remove it and let the writer make it anew"
            ) from None
        if mods != (FILE_MOD, FOLDER_MOD):
            raise BufferReadError(
                f"{origin}: found file_mod, folder_mod {mods}, expected {(FILE_MOD, FOLDER_MOD)}; "
                "this buffer was written with another layout"
            )
        if info.data_bytes < 1 or any(n < 1 for n in info.shape) or info.pixel_bytes > info.data_bytes:
            raise BufferReadError(
                f"{origin}: found {info.data_bytes} data_bytes, expected at least the {info.pixel_bytes} of "
                f"{list(info.shape)} {info.dtype}; restore the file"
            )
        for field in info.fields:
            if field.offset + field.nbytes > info.pixel_bytes:
                raise BufferReadError(
                    f"{origin}: found field {field.name!r} of {field.nbytes} bytes at {field.offset}, expected it within "
                    f"the {info.pixel_bytes} bytes of its frames; restore the file"
                )
        return info


def software_version() -> str:
    """Return the version of this program; empty when it is not installed."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version("pebbledaq")
    return ""


def read_detector_json(folder: Path) -> DetectorInfo:
    """Return what a detector folder holds. Raises BufferReadError when it is none."""
    path = folder / DETECTOR_JSON
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BufferReadError(
            f"{path}: cannot be read: {error.strerror}; give the folder of a detector, the one above its modules"
        ) from None
    return DetectorInfo.from_json(text, path)


def register_module(
    folder: Path, module: str, *, data_bytes: int, dtype: str, shape: tuple[int, ...], fields: Sequence[Field] = ()
) -> DetectorInfo:
    """Make a detector folder's ``detector.json`` include ``module``, and return it.

    Raises ConfigError when the folder already holds frames of another shape or type, OSError when it cannot be written.
    """
    path = folder / DETECTOR_JSON
    wanted = DetectorInfo(np.dtype(dtype).name, tuple(shape), data_bytes, (module,), software_version(), tuple(fields))
    with _locked(folder):
        if path.exists():
            try:
                there = read_detector_json(folder)
            except BufferReadError as error:
                raise ConfigError(str(error)) from None
            if (there.dtype, there.shape, there.data_bytes) != (wanted.dtype, wanted.shape, wanted.data_bytes):
                raise ConfigError(
                    f"{folder}: holds frames of {list(there.shape)} {there.dtype} ({there.data_bytes} bytes), "
                    f"but {module} sends {list(wanted.shape)} {wanted.dtype} ({wanted.data_bytes} bytes); "
                    "choose another folder"
                )
            if there.fields != wanted.fields:
                raise ConfigError(
                    f"{folder}: holds frames of the fields {_names(there)}, but {module} sends {_names(wanted)}; "
                    "choose another folder"
                )
            if module in there.modules:
                return there
            wanted = replace(there, modules=tuple(sorted({*there.modules, module})))
        write_atomically(path, wanted.to_json(), sync=True)
    return wanted


def _names(info: DetectorInfo) -> str:
    return ", ".join(f"{f.name} {list(f.shape)} {f.dtype}" for f in info.fields) or "none"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder itself locked, so that two modules that start at once do not overwrite each other's entry."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Some network file systems cannot lock a folder; there the loser of a rare race adds itself at its next start.
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
