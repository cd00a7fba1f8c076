"""The newest image of a detector in memory of its own, for workers that show it: gathered only while it is wanted."""

from typing import Final

import numpy as np

from detectors.config import Config, SourceSection
from detectors.image_head import ImageHead
from detectors.workers.gather import Gatherer
from detectors.workers.runtime import IDLE_S
from detectors.workers.streamed_images import members_to_show

_LOOK_S: Final = 0.02
"""Time between two looks for messages from other hosts, s."""


class NewestImage:
    """Looks into the memory of the modules of ``sources``, which costs them nothing; where some are on other hosts, it subscribes.

    For one thread.
    """

    def __init__(self, config: Config, sources: tuple[SourceSection, ...], host: str | None) -> None:
        self.gatherer = Gatherer(members_to_show(config, sources, host, pixels_only=True))
        self.gathering = False
        self.pixels = np.empty(0, np.uint8)
        self.number = 0
        """Of the image in ``pixels``; 0: there is none, or half of one."""
        self.head = ImageHead(0)
        """Of the last image."""
        self.taken_s = self.begun_s = float("-inf")
        """When the last image was gathered, and gathering begun, on the monotonic clock."""

    @property
    def modules_missing(self) -> int:
        """How many modules are missing in the image."""
        return self.missing_in(self.head)

    def missing_in(self, head: ImageHead) -> int:
        """Return how many modules are missing in an image of this detector."""
        return len(self.gatherer.modules) - head.present.bit_count()

    def gather(self, now: float, *, on: bool) -> None:
        """Attach to the modules, or detach. Idempotent."""
        if on == self.gathering:
            return
        self.gathering, self.number = on, 0
        if on:
            self.begun_s = now
            self.gatherer.open()
        else:
            self.gatherer.close()
            self.pixels = np.empty(0, np.uint8)

    def look(self) -> float:
        """Take in what has come; return how soon to look again, s."""
        return _LOOK_S if self.gathering and self.gatherer.look() else IDLE_S

    def take(self, now: float) -> bool:
        """Gather the newest image, and return whether there is one that was not gathered before."""
        matched = self.gatherer.newest()
        assembler = self.gatherer.assembler
        if matched is None or assembler is None:
            return False
        if self.pixels.shape != assembler.shape or self.pixels.dtype != assembler.pixel_type:
            self.pixels = np.empty(assembler.shape, assembler.pixel_type)
        header = self.gatherer.assemble(matched, self.pixels.reshape(-1).view(np.uint8))
        if header is None:
            self.number = 0
            return False
        self.head, self.number, self.taken_s = header.head, self.gatherer.assembled, now
        return True

    def close(self) -> None:
        """Detach from the modules. Idempotent."""
        self.gatherer.close()


def next_due(due_s: float, now: float, period_s: float) -> float:
    """Return when the next image is due: on the grid, but a pause is not made up for by a burst."""
    return (due_s if now - due_s < period_s else now) + period_s
