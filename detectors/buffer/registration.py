"""What a detector folder holds, so that readers need no configuration.

Each module writes its own ``[detector]/[module]/module.json``: modules that start at once cannot lose each other,
on any file system. ``[detector]/detector.json`` says the same of all of them, for people and for retention; it is rewritten by
each module that starts. A folder of an older version has all its modules in ``detector.json``.
"""

import json
import math
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Self, TypeGuard, cast

from detectors.buffer.atomic import write_atomically
from detectors.buffer.fields import Field, json_dtype, json_integer, json_shape
from detectors.buffer.layout import DETECTOR_JSON, MODULE_JSON
from detectors.buffer.regular import is_missing, read_regular
from detectors.errors import BufferReadError, ConfigError
from detectors.frame import FILE_MOD, FOLDER_MOD, RecordShape
from detectors.mosaic import ModulePlace
from detectors.pixels import PACKINGS, FrameLayout

_LONGEST_NAME: Final = 255
"""Bytes of a folder's name."""


@dataclass(frozen=True, slots=True)
class DetectorInfo:
    """The records of a detector folder, or of one module of it."""

    dtype: str
    """Pixel type as stored, little-endian: one of ``detectors.pixels.STORED_TYPES``."""
    shape: tuple[int, ...]
    """Shape of one module's frame, slowest dimension first."""
    data_bytes: int
    """Pixels of one module's frame, bytes. More than dtype and shape say only when the source pads them."""
    modules: tuple[str, ...]
    """Names of the module folders, sorted."""
    fields: tuple[Field, ...] = ()
    """Arrays that the data is made of, where several PVs are a detector; none where it is one."""
    place: ModulePlace | None = None
    """Of one module: where it lies in images with gaps; None when its configuration did not say it."""

    @property
    def record(self) -> RecordShape:
        """Layout of one record."""
        return RecordShape(self.data_bytes)

    @property
    def layout(self) -> FrameLayout:
        """What a frame is made of."""
        return FrameLayout(self.shape, self.dtype)

    @property
    def frames(self) -> str:
        """What a frame is made of, for comparison and for messages."""
        fields = "".join(f", {f.name} {list(f.shape)} {f.dtype} at {f.offset}" for f in self.fields)
        return f"{list(self.shape)} {self.dtype} ({self.data_bytes} bytes{fields})"

    def to_json(self) -> bytes:
        """Return the text of the file."""
        tree: dict[str, Any] = {
            "format": 1,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "data_bytes": self.data_bytes,
            "record_bytes": self.record.record_bytes,
            "file_mod": FILE_MOD,
            "folder_mod": FOLDER_MOD,
            "modules": list(self.modules),
            "software": software_version(),
        }
        if self.fields:
            tree["fields"] = [field.as_dict() for field in self.fields]
        if self.place:
            tree["place"] = asdict(self.place)
        return json.dumps(tree, indent=1).encode() + b"\n"

    @classmethod
    def from_json(cls, text: bytes | str, origin: Path | str) -> Self:
        """Return what the text of the file ``origin`` says. Raises BufferReadError when it says nothing usable."""
        try:
            tree: dict[str, Any] = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _unusable(origin, error) from None
        return cls.from_tree(tree, origin)

    @classmethod
    def from_tree(cls, tree: dict[str, Any], origin: Path | str) -> Self:
        """Return what JSON at ``origin`` says. Raises BufferReadError when it says nothing usable."""
        try:
            dtype = tree["dtype"]
            info = cls(
                dtype=dtype if isinstance(dtype, str) and dtype in PACKINGS else json_dtype(dtype).name,
                shape=json_shape(tree["shape"]),
                data_bytes=json_integer(tree["data_bytes"]),
                modules=_module_names(tree["modules"]),
                fields=tuple(Field.from_dict(field) for field in tree.get("fields", ())),
                place=ModulePlace.from_dict(tree["place"]) if "place" in tree else None,
            )
            mods = tree.get("file_mod", FILE_MOD), tree.get("folder_mod", FOLDER_MOD)
        except (ValueError, KeyError, TypeError, OverflowError, ConfigError) as error:
            raise _unusable(origin, error) from None
        if mods != (FILE_MOD, FOLDER_MOD):
            raise BufferReadError(
                f"{origin}: found file_mod, folder_mod {mods}, expected {(FILE_MOD, FOLDER_MOD)}; "
                "this buffer was written with another layout"
            )
        if contradiction := info._contradiction():
            raise BufferReadError(f"{origin}: found {contradiction}; restore the file")
        return info

    def _contradiction(self) -> str:
        """Return what does not fit together; empty when all does."""
        shape, nbytes = f"{list(self.shape)} {self.dtype}", self.layout.data_bytes
        if self.layout.is_packed and math.prod(self.shape) % 2:
            return f"{shape}, expected an even number"
        if not self.shape and self.data_bytes != nbytes:
            return f"an empty shape and {self.data_bytes} data_bytes, expected {nbytes}, one {self.dtype}"
        if nbytes > self.data_bytes:
            return f"{self.data_bytes} data_bytes, expected at least the {nbytes} of {shape}"
        for field in self.fields:
            if field.offset + field.nbytes > nbytes:
                found = f"field {field.name!r} of {field.nbytes} bytes at {field.offset}"
                return f"{found}, expected it within the {nbytes} bytes of its frames"
        return ""


def _unusable(origin: Path | str, error: Exception) -> BufferReadError:
    return BufferReadError(
        f"{origin}: found no usable description of a detector ({type(error).__name__}: {error}), expected "
        "dtype, shape, data_bytes and modules; restore the file, or remove it and let it be made again"
    )


def is_folder_name(found: Any) -> TypeGuard[str]:
    """Return whether a module can have this name: that of a folder."""
    return (
        isinstance(found, str)
        and "/" not in found
        and bool(found.strip("."))
        and found.isprintable()
        and len(found.encode()) <= _LONGEST_NAME
    )


def _module_names(found: Any) -> tuple[str, ...]:
    """Return the names of modules, sorted. Raises ValueError for what are none, and for one that comes twice."""
    names = cast("list[Any]", found)
    if not isinstance(found, list) or not names:
        raise ValueError(f"found modules {str(names)[:80]!r}, expected a list of names")
    for name in names:
        if not is_folder_name(name):
            raise ValueError(f"found module {str(name)[:80]!r}, expected the name of a folder")
        if names.count(name) > 1:
            raise ValueError(f"found module {name} {names.count(name)} times, expected it once")
    return tuple(sorted(names))


def software_version() -> str:
    """Return the version of this program; empty when it is not installed."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version("pebbledaq")
    return ""


def read_detector(folder: Path) -> DetectorInfo:
    """Return what a detector folder holds. Raises BufferReadError when it is none, or when its modules disagree."""
    return _with_folder(folder, _read(folder / DETECTOR_JSON))


def module_info(module_folder: Path) -> DetectorInfo:
    """Return what one module's folder holds. Raises BufferReadError when that is not written down, or not usable."""
    own = module_folder / MODULE_JSON
    return _read(module_folder.parent / DETECTOR_JSON if is_missing(own) else own)


def register_module(folder: Path, wanted: DetectorInfo) -> DetectorInfo:
    """Register the one module of ``wanted`` in a detector folder, and return what that holds.

    Raises ConfigError when the folder already holds frames of another shape or type, OSError when it cannot be written.
    """
    path, own = folder / DETECTOR_JSON, folder / wanted.modules[0] / MODULE_JSON
    try:
        info = _with_folder(folder, wanted)
        there = _read(own) if own.exists() and path.exists() else None
        if there and there.place == wanted.place and _read(path).modules == info.modules:
            return info
        own.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(own, wanted.to_json(), sync=True)
        try:
            # Again: of two modules that register different frames at once, one at least sees the other.
            info = _with_folder(folder, wanted)
        except BufferReadError:
            own.unlink()
            raise
    except BufferReadError as error:
        raise ConfigError(str(error)) from None
    write_atomically(path, info.to_json(), sync=True)
    return info


def _with_folder(folder: Path, wanted: DetectorInfo) -> DetectorInfo:
    """Return ``wanted`` with all modules of its folder. Raises BufferReadError when the folder holds other frames."""
    paths = [path for path in (folder / DETECTOR_JSON, *folder.glob(f"*/{MODULE_JSON}")) if not is_missing(path)]
    modules = set(wanted.modules)
    for path in paths:
        there = _read(path)
        if there.frames != wanted.frames:
            raise BufferReadError(
                f"{folder}: holds frames of {there.frames}, but {wanted.modules[0]} sends {wanted.frames}; "
                "choose another folder"
            )
        modules.update(there.modules)
    return replace(wanted, modules=tuple(sorted(modules)), place=None)


def _read(path: Path) -> DetectorInfo:
    try:
        text = read_regular(path)
    except OSError as error:
        raise BufferReadError(
            f"{path}: cannot be read: {error.strerror}; give the folder of a detector, the one above its modules"
        ) from None
    return DetectorInfo.from_json(text, path)
