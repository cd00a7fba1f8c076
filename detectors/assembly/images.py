"""Images from frames: the modules one below the other, and what the header says of the whole."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from detectors.assembly.sync import Matched
from detectors.frame import FrameHead
from detectors.image_head import image_head
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

    def __init__(self, layout: FrameLayout, readers: Sequence[FrameReader], names: ImageNames) -> None:
        self.layout = layout
        self.shape = layout.image_shape(len(readers))
        self.pixel_type = layout.pixel_type
        self.image_bytes = math.prod(self.shape) * self.pixel_type.itemsize
        self._readers = readers
        self._names = names
        self._packed = np.empty(layout.data_bytes, np.uint8) if layout.is_packed else None

    def assemble(self, matched: Matched, out: np.ndarray | None) -> ImageHeader | None:
        """Put each frame in its place in ``out`` (uint8[image_bytes]); with None only look at what is known of it.

        The place of a module that is missing is zeroed. None when a frame was overwritten before or while it was read:
        ``out`` is then undefined.
        """
        heads: list[FrameHead | None] = []
        places = [None] * len(self._readers) if out is None else np.split(out, len(self._readers))
        for m, (reader, place) in enumerate(zip(self._readers, places, strict=True)):
            head = None
            if matched.present >> m & 1:
                head = self._read(reader, matched.pulse_id, place)
                if head is None:
                    return None
            elif place is not None:
                place[:] = 0
            heads.append(head)
        return ImageHeader(
            image_head(matched.pulse_id, heads),
            detector_name=self._names.detector_name,
            dtype=self.pixel_type.name,
            shape=self.shape,
            pedestal_file=self._names.pedestal_file,
            gain_file=self._names.gain_file,
        )

    def _read(self, reader: FrameReader, pulse_id: int, place: np.ndarray | None) -> FrameHead | None:
        if self._packed is None or place is None:
            return reader.read(pulse_id, place)
        head = reader.read(pulse_id, self._packed)
        if head:
            self.layout.unpack(self._packed, place.view(self.pixel_type))
        return head
