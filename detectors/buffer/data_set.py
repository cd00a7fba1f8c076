"""A data set: the modules of one detector, in the folder of a detector or spread over the disks of several hosts as a map says.

Every reader opens one, and asks it where the files of a module lie. A folder that a map names and that cannot be seen from here
means that its module is missing; what opened the data set decides that, once.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from detectors.buffer.data_map import MappedDetector, MappedModule, parse_map
from detectors.buffer.layout import DETECTOR_JSON, MODULE_JSON
from detectors.buffer.registration import DetectorInfo, module_info, read_detector
from detectors.buffer.regular import is_missing, read_regular, reading
from detectors.errors import BufferReadError
from detectors.mosaic import ModulePlace

_MOST_LOOKS: Final = 64
"""Folders that are looked at at a time."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """Where the modules of one detector lie."""

    name: str
    """Name of the detector."""
    path: Path
    """What opens it again: the detector's folder, or, for one of a map, the name below the map file."""
    info: DetectorInfo
    """What its frames are; the modules in their order."""
    modules: Mapping[str, MappedModule]
    """The same modules, with the folder of each."""
    unseen: Mapping[str, str]
    """Modules whose folder cannot be seen from here, each with the reason."""
    map_file: Path | None = None
    """The map that says so; None: its modules lie in one folder."""

    def folder(self, module: str) -> Path:
        """Return the folder of a module."""
        return self.modules[module].folder

    def place(self, module: str) -> ModulePlace | None:
        """Return where a module lies in images with gaps, as the map says it, or else its folder; None when neither does."""
        mapped = self.modules[module]
        return mapped.place or (None if module in self.unseen else module_info(mapped.folder).place)

    def only(self, *modules: str) -> Self:
        """Return the same with these modules."""
        return replace(
            self,
            info=replace(self.info, modules=modules),
            modules={module: self.modules[module] for module in modules},
            unseen={name: why for name, why in self.unseen.items() if name in modules},
        )

    def absolute(self) -> Self:
        """Return the same, with paths that hold in any process."""
        modules = {name: replace(module, folder=module.folder.absolute()) for name, module in self.modules.items()}
        return replace(self, path=self.path.absolute(), modules=modules)

    def missing_hosts(self) -> Iterator[str]:
        """Yield which modules are missing and why, a line for each host."""
        hosts: dict[str, list[str]] = {}
        for name in self.unseen:
            hosts.setdefault(self.modules[name].host, []).append(name)
        for names in hosts.values():
            yield f"{', '.join(names)}: missing: {self.unseen[names[0]]}"


def open_data_set(path: Path) -> DataSet:
    """Return the one detector that a path stands for. Raises BufferReadError when it is none, or several."""
    found = data_sets(path)
    if len(found) > 1:
        paths = ", ".join(str(one.path) for one in found)
        raise BufferReadError(f"{path}: found {len(found)} detectors, expected one; give one of {paths}")
    return found[0]


def data_sets(path: Path) -> list[DataSet]:
    """Return what a path stands for.

    That is the folder of a detector, or a folder of several; a map, or one detector of a map: its name below the map file.
    Raises BufferReadError when there is none.
    """
    if _is_file(path):
        return [_of_map(path, mapped) for mapped in _read_map(path)]
    if _is_file(path.parent):
        detectors = {mapped.name: mapped for mapped in _read_map(path.parent)}
        if path.name not in detectors:
            raise BufferReadError(f"{path}: found no detector {path.name!r}, expected one of {', '.join(detectors)}")
        return [_of_map(path.parent, detectors[path.name])]
    inside: list[DataSet] = []
    if is_missing(path / DETECTOR_JSON):
        inside = [one for folder in sorted(path.glob("*/")) for one in _if_detector(folder)]
    return inside or [_of_folder(path)]


def cannot_see(module: MappedModule) -> str:
    """Return why the folder of a module cannot be seen from here; empty when it can."""
    try:
        os.listdir(module.folder)  # mounts it, too, where an automounter does that
    except OSError as error:
        of_host = f" of host {module.host}" if module.host else ""
        return f"{module.folder}{of_host} cannot be seen: {error.strerror or error}"
    return ""


def look_at(modules: Sequence[MappedModule]) -> list[str]:
    """Return for each module what ``cannot_see`` returns; of all at once, since a server that is gone costs minutes each time."""
    with ThreadPoolExecutor(_MOST_LOOKS) as looking:
        return list(looking.map(cannot_see, modules))


def _of_folder(folder: Path) -> DataSet:
    info = read_detector(folder)
    modules = {name: MappedModule(name, folder / name) for name in info.modules}
    # A module without a folder has not begun to write: that is not a host that is gone.
    return DataSet(folder.absolute().name, folder, info, modules, {})


def _if_detector(folder: Path) -> Iterator[DataSet]:
    with suppress(BufferReadError):
        yield _of_folder(folder)


def _of_map(path: Path, mapped: MappedDetector) -> DataSet:
    modules = {module.name: module for module in mapped.modules}
    unseen = {name: why for name, why in zip(modules, look_at(mapped.modules), strict=True) if why}
    where = path / mapped.name
    info = _agreed(where, mapped.info, (module for name, module in modules.items() if name not in unseen))
    if info is None:
        raise BufferReadError(
            f"{where}: found no description of its frames, and no module folder that has one; {next(iter(unseen.values()))}"
        )
    return DataSet(mapped.name, where, replace(info, modules=tuple(modules), place=None), modules, unseen, path)


def _agreed(where: Path, info: DetectorInfo | None, seen: Iterable[MappedModule]) -> DetectorInfo | None:
    """Return what the frames of a detector are, by its map or the first folder that says it. Raises BufferReadError when these differ."""
    for module in seen:
        if info and is_missing(module.folder / MODULE_JSON):
            continue  # registered in the detector.json of an older version, or not yet
        there = module_info(module.folder)
        if info and there.frames != info.frames:
            raise BufferReadError(
                f"{where}: has frames of {info.frames}, but {module.folder} holds {there.frames}; correct the map"
            )
        info = info or there
    return info


def _read_map(path: Path) -> tuple[MappedDetector, ...]:
    with reading(path):
        text = read_regular(path)
    return parse_map(text, path)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False
