"""Counts the images of an acquisition where no file is written: only their heads are read, and only while one is open."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from detectors.config import Config, SourceSection, UdpSection
from detectors.stats import AcquisitionStats
from detectors.workers.gate import AcquisitionGate
from detectors.workers.gather import Gatherer
from detectors.workers.streamed_images import members_to_show

_LOOK_S: Final = 0.01
"""Time between two looks while an acquisition is open, s: a pebble holds more frames than come meanwhile."""


class ImageCounter:
    """The acquisitions of a worker that shows images. It reads the modules, or the stream of images, on its own account."""

    def __init__(self, config: Config, sources: tuple[SourceSection, ...], host: str | None) -> None:
        self._gatherer = Gatherer(members_to_show(config, sources, host))
        clocked = isinstance(sources[0], UdpSection) and all(source.host == host for source in sources)
        self._gate = AcquisitionGate("fill", config.detector.pulse_id_step, self._gatherer.expect_all, clocked=clocked)
        self._counting = False

    @property
    def commands(self) -> Mapping[str, Callable[..., Any]]:
        """Begin and end of acquisitions."""
        return {**self._gate.commands, "acquire": self._acquire}

    def step(self) -> float:
        """Count the images that have come. Return how long to wait for more, s."""
        if not self._counting:
            return float("inf")
        now, acquisition = time.monotonic(), self._gate.acquisition
        for matched in self._gatherer.step():
            acquisition.missing(matched.pulse_id)
            if acquisition.wants(matched.pulse_id):
                header = self._gatherer.assemble(matched, None)
                self._gate.settle(matched.pulse_id, header.head if header else None, now)
        acquisition.expire(now)
        if self.stats().open:
            return _LOOK_S
        self.close()
        return 0.0  # a snapshot says at once that it is over

    def stats(self) -> AcquisitionStats:
        """Return a snapshot of the acquisition."""
        return self._gate.stats()

    def close(self) -> None:
        """Detach from the modules. Idempotent."""
        self._counting = False
        self._gatherer.close()

    def _acquire(self, **order: Any) -> int:
        number = self._gate.commands["acquire"](**order)
        if not self._counting:
            self._gatherer.open(from_now=True)
            self._counting = True
        return number
