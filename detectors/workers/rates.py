"""Rates as shown: averages over the last second."""

from collections import deque
from typing import Final

from detectors.stats import Rates

_WINDOW_S: Final = 1.0


class RateMeter:
    """Makes rates of counts that are sampled now and then."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int, int, int]] = deque()

    def add(self, now: float, frames: int, packets: int, nbytes: int) -> Rates:
        """Take the counts so far, and return the rates since the sample of a second ago. ``now``: monotonic, s."""
        samples = self._samples
        samples.append((now, frames, packets, nbytes))
        while len(samples) > 2 and samples[1][0] <= now - _WINDOW_S:
            samples.popleft()
        then, *old = samples[0]
        seconds = now - then
        if seconds <= 0:
            return Rates()
        new = (frames, packets, nbytes)
        return Rates(*(round((b - a) / seconds, 3) for a, b in zip(old, new, strict=True)))
