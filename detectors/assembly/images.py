"""Images from frames: the modules one below the other or at their places, and what the header says of the whole."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from detectors.assembly.sync import Matched
from detectors.frame import FrameHead
from detectors.image_head import image_head
from detectors.mosaic import Mosaic
from detectors.pixels import FrameLayout
from detectors.wire.array10 import ImageHeader


class FrameReader(Protocol):
    """Where one module's latest frames lie; a ``PebbleReader`` is one."""

    def read(self, pulse_id: int, out: np.ndarray | None) -> FrameHead | None:
        """Copy the pixels of a pulse into ``out`` (uint8[data_bytes]), if given; None when they are not there any more."""
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
        self.image_bytes = math.prod(self.shape) * self.pixel_type.itemsize
        self._readers = readers
        self._names = names
        self._mosaic = mosaic
        self._rows = self.shape[0] // len(readers)
        self._frame = np.empty(layout.data_bytes, np.uint8) if mosaic or layout.is_packed else None
        """A frame as stored, where it cannot be read straight into the image."""

    def assemble(self, matched: Matched, out: np.ndarray | None) -> ImageHeader | None:
        """Put each frame in its place in ``out`` (uint8[image_bytes]); with None only look at what is known of it.

        The place of a module that is missing is zeroed. None when a frame was overwritten before or while it was read:
        ``out`` is then undefined.
        """
        image = None if out is None else out.view(self.pixel_type).reshape(self.shape)
        if image is not None and self._mosaic:
            self._mosaic.fill_gaps(image)
        heads: list[FrameHead | None] = []
        for m in range(len(self._readers)):
            head = None
            if matched.present >> m & 1:
                head = self._read(m, matched.pulse_id, image)
                if head is None:
                    return None
            elif image is not None:
                self._put(image, m, None)
            heads.append(head)
        return ImageHeader(
            image_head(matched.pulse_id, heads),
            detector_name=self._names.detector_name,
            dtype=self._type_name,
            shape=self.shape,
            pedestal_file=self._names.pedestal_file,
            gain_file=self._names.gain_file,
        )

    def _read(self, m: int, pulse_id: int, image: np.ndarray | None) -> FrameHead | None:
        reader = self._readers[m]
        if image is None:
            return reader.read(pulse_id, None)
        if self._frame is None:
            return reader.read(pulse_id, self._rows_of(image, m).reshape(-1).view(np.uint8))
        head = reader.read(pulse_id, self._frame)
        if head:
            self._put(image, m, self.layout.read(self._frame))
        return head

    def _put(self, image: np.ndarray, m: int, pixels: np.ndarray | None) -> None:
        if self._mosaic:
            self._mosaic.put(image, m, pixels)
        else:
            self._rows_of(image, m)[:] = 0 if pixels is None else pixels

    def _rows_of(self, image: np.ndarray, m: int) -> np.ndarray:
        return image[m * self._rows : (m + 1) * self._rows]
