"""A capture as it was asked for, and how its file is made."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from detectors.outputs.hdf5.capture import Capture, CaptureRequest
from detectors.outputs.hdf5.filters import compression
from detectors.outputs.hdf5.live import LiveFile
from detectors.outputs.hdf5.nd_attributes import Attribute
from detectors.outputs.hdf5.schema import FileLayout
from detectors.roots import confined


@dataclass(frozen=True, slots=True)
class CaptureOrder:
    """What a capture takes and how it writes it. Raises ConfigError for an unknown compression."""

    request: CaptureRequest
    compression: str
    attributes: tuple[Attribute, ...]
    metadata: Mapping[str, float]
    """Numbers to keep below /entry/instrument/detector, by name."""
    roots: Iterable[Path]

    def __post_init__(self) -> None:
        compression(self.compression, 1)

    def make_file(self, layout: FileLayout) -> LiveFile:
        """Make the file. Raises CommandError outside the roots, HostError and ConfigError as ``LiveFile``."""
        path = confined(self.request.path, self.roots, "capture")
        return LiveFile(path, layout, self.compression, self.attributes, self.metadata)

    def capture(self, layout: FileLayout, *, lazy: bool) -> Capture:
        """Return the capture; its file is there, or made by the capture with the first image. Raises as ``make_file``."""
        file = None if lazy else self.make_file(layout)
        path = file.path if file else self.request.path
        return Capture(path, layout, lambda: self.make_file(layout), file)
