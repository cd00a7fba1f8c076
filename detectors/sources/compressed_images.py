"""The images that the worker of the full stream has compressed, as other workers of its host read them."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from detectors.errors import WireError
from detectors.sources.module_stream import LocalModule, Modules
from detectors.wire.array10 import ImageHeader, decode_header
from detectors.wire.compressed_image import copy_image

FRESH_S: Final = 2.0
"""An image that was compressed longer ago is not taken, s: its pulse_id may have come again since, without being compressed."""


class TakenImage(NamedTuple):
    """A compressed image."""

    header: ImageHeader
    chunk: np.ndarray
    """A chunk of HDF5's bitshuffle filter, uint8."""


class CompressedSource:
    """The memory ``segment`` of compressed images, and the notifications of new ones from ``address``. For one thread."""

    def __init__(self, address: str, segment: Path) -> None:
        self._address, self._module = address, LocalModule(segment, None)
        self._notifications: Modules | None = None
        self._announced = -1

    @property
    def asks(self) -> bool:
        """Whether all images are asked for."""
        return self._notifications is not None

    @property
    def is_there(self) -> bool:
        """Whether the memory is there: its owner runs."""
        return self._module.is_there

    @property
    def descriptors(self) -> Sequence[int]:
        """What is readable when an image is announced that was asked for; see ``Subscriptions``."""
        return self._notifications.descriptors if self._notifications else ()

    def ask(self, *, on: bool) -> None:
        """Ask for all images from now on, or no longer. Idempotent. Raises HostError."""
        if on and self._notifications is None:
            self._notifications, self._announced = Modules([self._address], [self._module]), -1
        elif not on and self._notifications:
            self._notifications.close()
            self._notifications = None

    def announced(self) -> int:
        """Return the pulse of the last image that was compressed since they are asked for; -1 when there is none."""
        for _, pulse_id in self._notifications.poll() if self._notifications else ():
            self._announced = pulse_id
        return self._announced

    def take(self, pulse_id: int, out: np.ndarray | None = None) -> TakenImage | None:
        """Return the image of a pulse, its chunk at the start of ``out`` (uint8) if given.

        None when it is not there, was compressed too long ago, or has no room in ``out``.
        """
        image = self._module.copy(pulse_id, partial(copy_image, out=out))
        if image is None or time.monotonic_ns() - image.made_ns > FRESH_S * 1e9:
            return None
        try:
            return TakenImage(decode_header(image.header), image.chunk)
        except WireError:  # of another version
            return None

    def newest(self) -> int | None:
        """Return the highest pulse that is there, however old; None when there is none."""
        return self._module.newest()

    def close(self) -> None:
        """Ask no longer, and unmap the memory. Idempotent."""
        self.ask(on=False)
        self._module.close()
