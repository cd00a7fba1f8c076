"""What became of each image that was to be processed: each is counted once, whichever thread settles it."""

from dataclasses import replace
from threading import Condition
from typing import Literal, TypeAlias

from detectors.stats import FunctionStats

ImageFate: TypeAlias = Literal["processed", "dropped", "failed", "lost"]


class ImageFates:
    """Counts images: ``offered = processed + dropped + failed + lost + queued``. Thread-safe."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._stats = FunctionStats()
        self.error = ""
        """The first failure of the function since the total was begun."""

    @property
    def stats(self) -> FunctionStats:
        """A snapshot."""
        return self._stats

    def drop(self) -> None:
        """Count an image that came when no slot was free for it."""
        self.count(offered=1, dropped=1)

    def take(self) -> None:
        """Count an image that waits for the function from now on, until it is settled."""
        self.count(offered=1, queued=1)

    def settle(self, fate: ImageFate) -> None:
        """Count what became of an image that was taken."""
        self.count(queued=-1, **{fate: 1})

    def fail(self, reason: str) -> None:
        """Settle an image on which the function failed."""
        self.note(reason)
        self.settle("failed")

    def note(self, reason: str) -> None:
        """Keep an error, if it is the first."""
        with self._changed:
            self.error = self.error or reason

    def forget_error(self) -> None:
        """Let the next error be the first."""
        with self._changed:
            self.error = ""

    def count(self, **more: int) -> None:
        """Add to the counters."""
        with self._changed:
            now = self._stats
            self._stats = replace(now, **{name: getattr(now, name) + n for name, n in more.items()})
            if not self._stats.queued:
                self._changed.notify_all()

    def late(self, lag_ms: float, age_ms: float) -> None:
        """Note how late the last result was."""
        with self._changed:
            self._stats = replace(self._stats, lag_ms=lag_ms, age_ms=age_ms)

    def wait_settled(self, timeout_s: float) -> bool:
        """Return whether every image was settled within ``timeout_s``."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._stats.queued, max(0.0, timeout_s))
