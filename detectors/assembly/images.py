"""Images from frames: the modules one below the other, and what the header says of the whole."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from detectors.assembly.sync import Matched
from detectors.frame import FrameHead
from detectors.image_head import image_head
from detectors.wire.array10 import ImageHeader


class FrameReader(Protocol):
    """Where one module's latest frames lie; a ``PebbleReader`` is one."""

    def read(self, pulse_id: int, out: np.ndarray | None) -> FrameHead | None:
        """Copy the pixels of a pulse into ``out`` (uint8[data_bytes]), if given; None when they are not there any more."""
        ...


@dataclass(frozen=True, slots=True)
class FrameLayout:
    """What every module's frame is made of."""

    shape: tuple[int, ...]
    """Slowest dimension first."""
    dtype: str
    """numpy name of the pixel type, little-endian."""

    @property
    def data_bytes(self) -> int:
        """Pixels of one frame, bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def image_shape(self, modules: int) -> tuple[int, ...]:
        """Return the shape of an image: the modules joined along the slowest dimension."""
        rows, *rest = self.shape or (1,)
        return (modules * rows, *rest)


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
        self.image_bytes = layout.data_bytes * len(readers)
        self._readers = readers
        self._names = names

    def assemble(self, matched: Matched, out: np.ndarray | None) -> ImageHeader | None:
        """Copy each frame once to its place in ``out`` (uint8[image_bytes]); with None only look at what is known of it.

        The place of a module that is missing is zeroed. None when a frame was overwritten before or while it was read:
        ``out`` is then undefined.
        """
        heads: list[FrameHead | None] = []
        size = self.layout.data_bytes
        for m, reader in enumerate(self._readers):
            place = None if out is None else out[m * size : (m + 1) * size]
            head = None
            if matched.present >> m & 1:
                head = reader.read(matched.pulse_id, place)
                if head is None:
                    return None
            elif place is not None:
                place[:] = 0
            heads.append(head)
        return ImageHeader(
            image_head(matched.pulse_id, heads),
            detector_name=self._names.detector_name,
            dtype=self.layout.dtype,
            shape=self.shape,
            pedestal_file=self._names.pedestal_file,
            gain_file=self._names.gain_file,
        )
