"""What readers give: the frame of a module, and the image of all modules."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detectors.buffer.fields import Field
from detectors.buffer.registration import DetectorInfo
from detectors.errors import BufferReadError
from detectors.frame import FrameHead
from detectors.mosaic import Mosaic


@dataclass(frozen=True, slots=True)
class Frame:
    """One module's record. ``data`` is read-only, in the frame's shape and type: a view of the file, unless its pixels are packed there."""

    module: str
    head: FrameHead
    """Time, damage and missing packets are those of the sidecar; ``expected_packets`` is 0 while it has no entry."""
    data: np.ndarray
    fields: tuple[Field, ...] = ()
    """Arrays that the data is made of, where several PVs are a detector."""

    @property
    def pulse_id(self) -> int:
        """Pulse of the frame."""
        return self.head.pulse_id

    def field(self, name: str) -> np.ndarray:
        """Return the array of one PV in its own shape and type, a view of ``data``; a PV that had no update is zeros.

        Raises BufferReadError, with the names that there are, for one that the frame does not have.
        """
        for found in self.fields:
            if found.name == name:
                return found.of(self.data)
        names = ", ".join(f.name for f in self.fields) or "none: its data is one array"
        raise BufferReadError(f"{self.module}: found no field {name!r}, expected one of: {names}")


@dataclass(frozen=True, slots=True)
class Image:
    """All modules of one pulse.

    ``data`` holds the modules one below the other: ``(n_modules * rows, cols)`` for two-dimensional frames, in general
    joined along the first axis, in the order of ``BufferReader.modules``; or with gaps. Missing modules are zeros. With a single
    module it is a read-only view of the file.
    """

    pulse_id: int
    data: np.ndarray
    frames: tuple[Frame | None, ...]
    """One per module; None for a module that does not hold the pulse."""
    unreadable: tuple[str, ...] = ()
    """Why frames that should be there are None: torn records, files that cannot be read. A pulse that was never written is not named."""

    @property
    def is_complete(self) -> bool:
        """Whether every module holds the pulse (with or without all of its packets)."""
        return all(self.frames)


def joined(info: DetectorInfo, frames: Sequence[Frame | None], mosaic: Mosaic | None) -> np.ndarray:
    """Return the pixels of an image: the modules one below the other, or with gaps as ``mosaic`` says."""
    if mosaic:
        image = np.empty(mosaic.shape, mosaic.pixel_type)
        mosaic.fill_gaps(image)
        for m, frame in enumerate(frames):
            mosaic.put(image, m, frame and frame.data)
        return image
    if len(frames) == 1 and frames[0]:
        return frames[0].data
    shape = info.layout.image_shape(len(frames))
    image = np.zeros(shape, info.layout.pixel_type)
    for place, frame in zip(np.split(image, len(frames)), frames, strict=True):
        if frame:
            place.reshape(info.shape)[...] = frame.data
    return image
