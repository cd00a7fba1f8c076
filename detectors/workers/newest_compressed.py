"""The newest image that the stream of this host has compressed, for a worker that shows it: one that is due, and no other, is copied."""

from typing import Final

import numpy as np

from detectors.image_head import ImageHead
from detectors.sources.compressed_images import FRESH_S, CompressedSource, TakenImage
from detectors.wire.array10 import ImageHeader
from detectors.wire.bslz4 import CHUNK_HEADER

_PATIENCE_S: Final = 0.25
"""How long an image may wait for its compression, s; once one has waited in vain none waits until another one was compressed."""

_NEVER: Final = float("-inf")


class NewestCompressed:
    """The newest image that ``source`` has compressed for others; it requests none itself. For one thread."""

    def __init__(self, source: CompressedSource) -> None:
        self._source = source
        self._image: TakenImage | None = None
        self.taken_s = _NEVER
        """When the last one was taken, on the monotonic clock."""
        self._waits_since_s: float | None = None
        self._in_vain = False
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
        self.expect()
        self.taken += 1
        return True

    def expect(self) -> None:
        """Let the next image wait for its compression, though others may have waited in vain."""
        self._waits_since_s, self._in_vain = None, False

    def is_live(self, now: float) -> bool:
        """Return whether images are being compressed, so that none need be compressed elsewhere."""
        return now - self.taken_s < FRESH_S

    def is_awaited(self, now: float) -> bool:
        """Return whether an image that is due waits, since it may be the first that is compressed."""
        if self._waits_since_s is None:
            self._waits_since_s = now
        self._in_vain |= now - self._waits_since_s > _PATIENCE_S
        return not self._in_vain

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
