"""The newest images of a reduced stream, of a part or whole ones: heads of all, pixels of some."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from detectors.errors import WireError
from detectors.image_head import ImageHead
from detectors.parts import PartPlace
from detectors.pixels import FrameLayout
from detectors.wire.array10 import decode_image


class ReducedImages:
    """Keeps the heads of ``heads`` images, and the pixels of ``queue`` of them, until they are taken.

    Every image lies at ``place``, or is ``whole``, and has ``layout``; at most ``messages`` wait to be taken in. With
    ``pixels_only`` images without pixels are left out.
    """

    def __init__(
        self,
        place: PartPlace,
        layout: FrameLayout,
        *,
        heads: int,
        queue: int,
        messages: int,
        whole: bool = False,
        pixels_only: bool = False,
    ) -> None:
        self.place = place
        self.problem = ""
        """Why nothing comes, until something has; for its owner to set."""
        self._expected = None if whole else place
        self._pixels_only = pixels_only
        self.pixels_bytes, self.queue = layout.data_bytes, messages
        self.newest = ImageHead(0)
        """Of the image that came last."""
        self.lost = 0
        """Images that its host has made and that did not come."""
        self._layout = layout
        self._most_heads, self._most_pixels = heads, queue
        self._heads: OrderedDict[int, ImageHead] = OrderedDict()
        self._pixels: OrderedDict[int, np.ndarray] = OrderedDict()
        self._number: int | None = None

    def put(self, parts: Sequence[memoryview]) -> int | None:
        """Take in a message, and return its pulse_id; None when it is left out. Raises WireError for one of another place."""
        header, pixels = decode_image(parts)
        self.problem = ""
        if header.part != self._expected:
            raise WireError(
                f"part: found {header.part}, expected {self._expected}; give all hosts the same configuration"
            )
        if pixels is not None and (header.shape, header.dtype) != (self._layout.shape, self._layout.dtype):
            raise WireError(
                f"part: found {list(header.shape)} {header.dtype}, expected {list(self._layout.shape)} {self._layout.dtype}"
            )
        if pixels is None and self._pixels_only:
            return None
        pulse_id = header.head.pulse_id
        self._count(header.number)
        self._heads[pulse_id] = self.newest = header.head
        if len(self._heads) > self._most_heads:
            self._heads.popitem(last=False)
        if pixels is not None:
            self._pixels[pulse_id] = pixels
            if len(self._pixels) > self._most_pixels:
                self._pixels.popitem(last=False)
        return pulse_id

    def take(self, pulse_id: int) -> tuple[ImageHead | None, np.ndarray | None]:
        """Return head and pixels of a pulse, each None when it is not there; they are not kept, nor are older ones."""
        found = self._heads.get(pulse_id), self._pixels.get(pulse_id)
        for kept in (self._heads, self._pixels):
            while kept and next(iter(kept)) <= pulse_id:
                kept.popitem(last=False)
        return found

    def close(self) -> None:
        """Forget the images, and where their numbers were. Idempotent."""
        self._heads.clear()
        self._pixels.clear()
        self._number = None

    def _count(self, number: int) -> None:
        # A part that restarts counts from 1: what it had not sent before is not known.
        if self._number is not None and number > self._number:
            self.lost += number - self._number - 1
        self._number = number
