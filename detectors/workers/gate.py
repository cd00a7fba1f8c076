"""The gate of a worker of images: which of them belong to the acquisition that its commands begin and end."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from detectors.assembly.acquisition import Acquisition, AcquisitionRules, OnLoss
from detectors.image_head import ImageHead
from detectors.stats import AcquisitionStats


class AcquisitionGate:
    """Holds the present acquisition. Before the first command, and after ``release``, one without end takes every image.

    ``clocked``: images come with the time when they arrived on this host; else they arrive when they are seen.
    """

    def __init__(self, on_loss: OnLoss, pulse_id_step: int, begin: Callable[[], None], *, clocked: bool) -> None:
        """``begin()`` is called when an acquisition begins."""
        self._endless = AcquisitionRules(on_loss=on_loss)
        self._step = pulse_id_step
        self._begin = begin
        self._clocked = clocked
        self.number = 0
        """Acquisitions begun by command."""
        self.acquisition = self._last = Acquisition(self._endless, pulse_id_step)

    @property
    def commands(self) -> Mapping[str, Callable[..., Any]]:
        """Begin and end of acquisitions."""
        return {"acquire": self._acquire, "release": self._release}

    def settle(self, pulse_id: int, head: ImageHead | None, now_s: float) -> bool:
        """Count a wanted image; see ``Acquisition.settle``."""
        arrived_ns = (head.timestamp_ns if head and self._clocked else 0) or time.time_ns()
        return self.acquisition.settle(pulse_id, head, arrived_ns, now_s)

    def stats(self) -> AcquisitionStats:
        """Return a snapshot of the last acquisition that was begun by command."""
        if not self.number:
            return AcquisitionStats()
        last = self._last
        return AcquisitionStats(
            number=self.number,
            open=last.open,
            images=last.rules.images,
            taken=last.taken,
            good=last.good,
            damaged=last.damaged,
            filled=last.filled,
            lost=last.lost,
            error=last.error,
        )

    def _acquire(self, images: int = 0, on_loss: OnLoss = "fill", image_timeout_s: float = 0.0) -> int:
        """Take so many images that arrive from now on (0: until released); return the number of the acquisition.

        Raises ConfigError for a wrong request.
        """
        rules = AcquisitionRules(images, on_loss, image_timeout_s)
        self._last.close()
        self.acquisition = self._last = self._from_now_on(rules)
        self.number += 1
        self._begin()
        return self.number

    def _release(self) -> None:
        """End the acquisition; images that arrive from now on belong to none, and are taken."""
        self._last.close()
        self.acquisition = self._from_now_on(self._endless)

    def _from_now_on(self, rules: AcquisitionRules) -> Acquisition:
        return Acquisition(rules, self._step, since_ns=time.time_ns(), now_s=time.monotonic())
