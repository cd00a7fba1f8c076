"""What ``map`` has written."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from detectors.buffer.data_map import MappedDetector


class WrittenMap(NamedTuple):
    """A map, and what of it can be seen from here."""

    file: str
    detectors: Sequence[MappedDetector]
    unseen: Mapping[Path, str]
    """For each folder why it cannot be seen; empty for one that can."""


def as_dict(written: WrittenMap) -> dict[str, Any]:
    """Return it as JSON has it."""
    return {
        "file": written.file,
        "detectors": [
            {
                "name": detector.name,
                "modules": [
                    {
                        "name": module.name,
                        "host": module.host or None,
                        "folder": str(module.folder),
                        "unseen": written.unseen[module.folder] or None,
                    }
                    for module in detector.modules
                ],
            }
            for detector in written.detectors
        ],
    }


def lines(written: WrittenMap) -> Iterator[str]:
    """Yield a line for each detector, and one for each module that cannot be seen."""
    for detector in written.detectors:
        hosts = dict.fromkeys(module.host for module in detector.modules if module.host)
        on = f" on {', '.join(hosts)}" if hosts else ""
        yield f"{written.file}: {detector.name}: {len(detector.modules)} modules{on}"
        for module in detector.modules:
            if why := written.unseen[module.folder]:
                yield f"{module.name}: {why}"
