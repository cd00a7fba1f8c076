"""The newest image that the stream of this host has compressed, for a worker that shows it: one that is due, and no other, is copied."""

from typing import Final

import numpy as np

from detectors.image_head import ImageHead
from detectors.sources.compressed_images import FRESH_S, CompressedSource, TakenImage
from detectors.wire.array10 import ImageHeader
from detectors.wire.bslz4 import CHUNK_HEADER

_NEVER: Final = float("-inf")


class NewestCompressed:
    """What ``source`` has compressed. It asks for nothing: while the stream compresses for nobody else there is nothing. For one thread."""

    def __init__(self, source: CompressedSource) -> None:
        self._source = source
        self._image: TakenImage | None = None
        self.taken_s = _NEVER
        """When the last one was taken, on the monotonic clock."""
        self.taken = 0
        """Images that were taken."""

    def take(self, now: float) -> bool:
        """Take the newest image, and return whether it is another one than before."""
        pulse_id = self._source.newest()
        if pulse_id is None or (self._image and pulse_id == self.head.pulse_id):
            return False
        image = self._source.take(pulse_id)
        if image is None:
            return False
        self._image, self.taken_s = image, now
        self.taken += 1
        return True

    def is_live(self, now: float) -> bool:
        """Return whether images are being compressed, so that the next one is worth waiting for."""
        return now - self.taken_s < FRESH_S

    @property
    def head(self) -> ImageHead:
        """Of the image that was taken last."""
        return self._image.header.head if self._image else ImageHead(0)

    @property
    def image(self) -> tuple[ImageHeader, np.ndarray]:
        """The image that was taken last: its header, and its data as areaDetector's codec has it, uint8."""
        assert self._image
        return self._image.header, self._image.chunk[CHUNK_HEADER.size :]

    def close(self) -> None:
        """Let go of the memory. Idempotent."""
        self._source.close()
