"""The map of a data set: which modules a detector has, and in which folder of which host each lies. Pure.

A JSON file: ``pebbledaq map`` makes it of a configuration, or a person writes it. docs/reference/formats.md has every key.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast

from detectors.buffer.registration import DetectorInfo, is_folder_name, software_version
from detectors.errors import BufferReadError, ConfigError
from detectors.mosaic import ModulePlace

_FORMAT: Final = 1
_FRAMES: Final = ("dtype", "shape", "data_bytes", "fields")
"""Keys that say what a frame is; all but the last belong together."""


@dataclass(frozen=True, slots=True)
class MappedModule:
    """One module of a data set."""

    name: str
    """Its name in the data set: that of its folder, or another where modules of several systems have the same."""
    folder: Path
    """Its folder, as the reader sees it."""
    host: str = ""
    """Host whose disk it is on; empty when the map does not say it."""
    place: ModulePlace | None = None
    """Where it lies in images with gaps; None when the map does not say it."""


@dataclass(frozen=True, slots=True)
class MappedDetector:
    """One detector of a map, its modules in their order."""

    name: str
    modules: tuple[MappedModule, ...]
    info: DetectorInfo | None = None
    """What its frames are; None when the map leaves that to the folders."""


def format_map(detectors: Iterable[MappedDetector]) -> bytes:
    """Return the text of a map."""
    tree = {"format": _FORMAT, "software": software_version(), "detectors": [_tree(one) for one in detectors]}
    return json.dumps(tree, indent=1).encode() + b"\n"


def parse_map(text: bytes | str, path: Path) -> tuple[MappedDetector, ...]:
    """Return what the text of the map ``path`` says; relative folders are below the map's.

    Raises BufferReadError, with the place of the mistake.
    """
    try:
        tree: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BufferReadError(
            f"{path}: not JSON: {error}; give the folder of a detector, or a map that `pebbledaq map` made"
        ) from None
    top = _table(tree, str(path), {"format", "detectors"}, {"software"})
    if top["format"] != _FORMAT:
        raise BufferReadError(f"{path}: format: found {_short(top['format'])}, expected {_FORMAT}; update pebbledaq")
    detectors: list[MappedDetector] = []
    for where, found in _list(top["detectors"], f"{path}: detectors"):
        detectors.append(_detector(found, where, path.parent))
        _check_new(detectors, where)
    return tuple(detectors)


def _tree(detector: MappedDetector) -> dict[str, Any]:
    info = detector.info
    frames: dict[str, Any] = {}
    if info:
        frames = {"dtype": info.dtype, "shape": list(info.shape), "data_bytes": info.data_bytes}
        if info.fields:
            frames["fields"] = [field.as_dict() for field in info.fields]
    return {"name": detector.name, **frames, "modules": [_module_tree(module) for module in detector.modules]}


def _module_tree(module: MappedModule) -> dict[str, Any]:
    tree: dict[str, Any] = {"name": module.name}
    if module.host:
        tree["host"] = module.host
    tree["folder"] = str(module.folder)
    if module.place:
        tree["place"] = asdict(module.place)
    return tree


def _detector(found: Any, where: str, base: Path) -> MappedDetector:
    tree = _table(found, where, {"name", "modules"}, set(_FRAMES))
    name = _name(tree["name"], where)
    modules: list[MappedModule] = []
    for module_where, each in _list(tree["modules"], f"{where}.modules"):
        modules.append(_module(each, module_where, base))
        _check_new(modules, module_where)
    info = None
    if frames := {key: tree[key] for key in _FRAMES if key in tree}:
        info = DetectorInfo.from_tree({**frames, "modules": [module.name for module in modules]}, where)
    return MappedDetector(name, tuple(modules), info)


def _module(found: Any, where: str, base: Path) -> MappedModule:
    tree = _table(found, where, {"name", "folder"}, {"host", "place"})
    for key in ("folder", "host"):
        text = tree.get(key, "")
        if not isinstance(text, str) or not text.isprintable() or (key == "folder" and not text):
            raise BufferReadError(f"{where}.{key}: found {_short(text)}, expected text")
    try:
        place = ModulePlace.from_dict(tree["place"]) if "place" in tree else None
    except (ValueError, KeyError, TypeError, ConfigError) as error:
        raise BufferReadError(
            f"{where}.place: found {_short(tree['place'])}, expected row, column and chips ({error})"
        ) from None
    return MappedModule(_name(tree["name"], where), base / tree["folder"], tree.get("host", ""), place)


def _table(found: Any, where: str, needed: set[str], more: set[str]) -> dict[str, Any]:
    """Return an object of JSON that has the keys ``needed``, and beside them those of ``more`` at most."""
    if not isinstance(found, dict):
        raise BufferReadError(f"{where}: found {_short(found)}, expected an object with {', '.join(sorted(needed))}")
    tree = cast("dict[str, Any]", found)
    for key in sorted(needed - tree.keys()):
        raise BufferReadError(f"{where}: {key}: missing; it is required")
    for key in sorted(tree.keys() - needed - more):
        raise BufferReadError(f"{where}: {_short(key)}: unknown key; remove it or correct its spelling")
    return tree


def _list(found: Any, where: str) -> list[tuple[str, Any]]:
    """Return the entries of a list that has some, each with its place."""
    if not isinstance(found, list) or not found:
        raise BufferReadError(f"{where}: found {_short(found)}, expected a list with an entry at least")
    return [(f"{where}[{i}]", each) for i, each in enumerate(cast("list[Any]", found))]


def _name(found: Any, where: str) -> str:
    if not is_folder_name(found):
        raise BufferReadError(f"{where}.name: found {_short(found)}, expected a name that a folder can have")
    return found


def _check_new(entries: list[MappedDetector] | list[MappedModule], where: str) -> None:
    """Check that the last of ``entries`` has a name of its own."""
    names = [entry.name for entry in entries]
    if names[-1] in names[:-1]:
        raise BufferReadError(
            f"{where}.name: {names[-1]!r} is also the name of entry {names.index(names[-1])}; give each its own"
        )


def _short(found: Any) -> str:
    text = json.dumps(found) if isinstance(found, str | int | float | list | dict | None) else repr(found)
    return text if len(text) <= 80 else f"{text[:80]}..."
