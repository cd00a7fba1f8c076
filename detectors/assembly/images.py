"""Images from frames: the modules one below the other or at their places, and what the header says of the whole."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from detectors.assembly.sync import Matched
from detectors.image_head import image_head
from detectors.mosaic import Mosaic
from detectors.pixels import FrameLayout
from detectors.pools.pebble_reader import FoundFrame
from detectors.wire.array10 import ImageHeader


class FrameReader(Protocol):
    """Where one module's latest frames lie; a ``PebbleReader`` is one."""

    def find(self, pulse_id: int) -> FoundFrame | None:
        """Return the frame of a pulse where it lies; None when it is not there any more."""
        ...

    def check(self, frame: FoundFrame) -> bool:
        """Return whether a frame is still there, unchanged since it was found."""
        ...


@dataclass(frozen=True, slots=True)
class ImageNames:
    """What the header says of every image."""

    detector_name: str
    pedestal_file: str = ""
    gain_file: str = ""


class ImageAssembler:
    """Gathers the frames of a pulse from ``readers``, one a module, in the order of the image."""

    def __init__(
        self, layout: FrameLayout, readers: Sequence[FrameReader], names: ImageNames, mosaic: Mosaic | None = None
    ) -> None:
        self.layout = layout
        self.shape = mosaic.shape if mosaic else layout.image_shape(len(readers))
        self.pixel_type = layout.pixel_type
        self._type_name = layout.pixel_type.name
        self._frame_bytes = layout.data_bytes
        self.image_bytes = math.prod(self.shape) * self.pixel_type.itemsize
        self._readers = readers
        self._names = names
        self._mosaic = mosaic
        self._rows = self.shape[0] // len(readers)
        self._one_below_the_other = mosaic is None and not layout.is_packed
        """Whether an image is its frames as they are stored, one after the other."""

    def assemble(self, matched: Matched, out: np.ndarray | None) -> ImageHeader | None:
        """Put each frame in its place in ``out`` (uint8[image_bytes]); with None only look at what is known of it.

        The place of a module that is missing is zeroed. None when a frame was overwritten before or while it was read:
        ``out`` is then undefined.
        """
        found: list[FoundFrame | None] = []
        for m, reader in enumerate(self._readers):
            frame = None
            if matched.present >> m & 1:
                frame = reader.find(matched.pulse_id)
                if frame is None or frame.data.nbytes != self._frame_bytes:  # a camera came back with others
                    return None
            found.append(frame)
        if out is not None:
            self._fill(out, found)
        for reader, frame in zip(self._readers, found, strict=True):
            if frame and not reader.check(frame):
                return None
        heads = [frame and frame.head for frame in found]
        return ImageHeader(
            image_head(matched.pulse_id, heads),
            detector_name=self._names.detector_name,
            dtype=self._type_name,
            shape=self.shape,
            pedestal_file=self._names.pedestal_file,
            gain_file=self._names.gain_file,
        )

    def _fill(self, out: np.ndarray, frames: Sequence[FoundFrame | None]) -> None:
        # One copy right after the other: each of them clears the caches of the code between them.
        if self._one_below_the_other:
            size = self._frame_bytes
            for m, frame in enumerate(frames):
                np.copyto(out[m * size : (m + 1) * size], frame.data if frame else 0)
            return
        image = out.view(self.pixel_type).reshape(self.shape)
        if self._mosaic:
            self._mosaic.fill_gaps(image)
        for m, frame in enumerate(frames):
            pixels = self.layout.read(frame.data) if frame else None
            if self._mosaic:
                self._mosaic.put(image, m, pixels)
            else:
                image[m * self._rows : (m + 1) * self._rows] = 0 if pixels is None else pixels
