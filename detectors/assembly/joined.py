"""Whole images from parts: the parts of one pulse, each with some of the modules, put where these lie in the whole."""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from detectors.assembly.images import ImageNames
from detectors.assembly.sync import Matched
from detectors.image_head import ImageHead, joined_head
from detectors.mosaic import Mosaic
from detectors.parts import PartPlace
from detectors.pixels import FrameLayout
from detectors.wire.array10 import ImageHeader


class PartReader(Protocol):
    """Where one part's newest images are; a ``ReducedImages`` is one."""

    place: PartPlace

    def take(self, pulse_id: int) -> tuple[ImageHead | None, np.ndarray | None]:
        """Return head and pixels of a pulse, each None when it is not there."""
        ...


class JoinedAssembler:
    """Joins the parts of ``readers``.

    ``layout`` is that of a module's frame, of ``packets`` packets; ``mosaic`` has the modules' places, where images have gaps.
    """

    def __init__(
        self,
        layout: FrameLayout,
        readers: Sequence[PartReader],
        names: ImageNames,
        *,
        packets: int,
        mosaic: Mosaic | None = None,
    ) -> None:
        modules = sum(len(reader.place.modules) for reader in readers)
        self.shape = mosaic.shape if mosaic else layout.image_shape(modules)
        self.pixel_type = layout.pixel_type
        self.image_bytes = math.prod(self.shape) * self.pixel_type.itemsize
        self._readers = readers
        self._names = names
        self._mosaic = mosaic
        self._rows = self.shape[0] // modules
        self._missing_packets = [packets * len(reader.place.modules) for reader in readers]

    def assemble(self, matched: Matched, out: np.ndarray | None) -> ImageHeader | None:
        """Put each part in its place in ``out`` (uint8[image_bytes]); with None only look at what is known of it.

        The place of a part that is missing is zeroed. None when one that was there is not, or came without pixels that are
        wanted: ``out`` is then undefined.
        """
        heads: list[ImageHead | None] = []
        pixels: list[np.ndarray | None] = []
        for p, reader in enumerate(self._readers):
            found = reader.take(matched.pulse_id) if matched.present >> p & 1 else (None, None)
            heads.append(found[0])
            pixels.append(found[1])
            if matched.present >> p & 1 and (found[0] is None or (out is not None and found[1] is None)):
                return None
        if out is not None:
            self._join(pixels, out.view(self.pixel_type).reshape(self.shape))
        return ImageHeader(
            joined_head(matched.pulse_id, heads, self._missing_packets),
            detector_name=self._names.detector_name,
            dtype=self.pixel_type.name,
            shape=self.shape,
            pedestal_file=self._names.pedestal_file,
            gain_file=self._names.gain_file,
        )

    def _join(self, parts: Sequence[np.ndarray | None], image: np.ndarray) -> None:
        if self._mosaic:
            self._mosaic.fill_gaps(image)
        for reader, part in zip(self._readers, parts, strict=True):
            for i, m in enumerate(reader.place.modules):
                if self._mosaic and part is None:
                    self._mosaic.put(image, m, None)
                elif self._mosaic and part is not None:
                    rows, columns = self._mosaic.boxes[m]
                    row, column = reader.place.row, reader.place.column
                    image[rows, columns] = part[
                        rows.start - row : rows.stop - row, columns.start - column : columns.stop - column
                    ]
                else:
                    own = slice(i * self._rows, (i + 1) * self._rows)
                    image[m * self._rows : (m + 1) * self._rows] = 0 if part is None else part[own]
