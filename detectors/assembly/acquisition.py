"""An acquisition: which images of a stream it takes, which it misses, and when it is over. Pure.

Images come in the order of their pulses, ``pulse_id_step`` apart. A pulse without an image between two others is missing. What
becomes of missing and damaged images is the caller's choice, ``OnLoss``:

- ``fill``: each takes its place among the images; one that is missing is all zeros.
- ``fail``: the first one ends the acquisition with an error.
- ``skip``: missing ones have no place, and are counted.
"""

from dataclasses import dataclass
from typing import Final, Literal

from detectors.errors import ConfigError
from detectors.image_head import ImageHead

OnLoss = Literal["fill", "fail", "skip"]

LONGEST_FILL: Final = 10_000
"""Missing pulses filled in a row: a longer gap is a source that jumped, not one that lost so many."""

_NONE: Final = range(0)


@dataclass(frozen=True, slots=True)
class AcquisitionRules:
    """What an acquisition is to take. Raises ConfigError with every mistake."""

    images: int = 0
    """Images after which it is over; 0: none."""
    on_loss: OnLoss = "fill"
    timeout_s: float = 0.0
    """Time since the last image after which the rest of ``images`` is missing, s; 0: it is waited for."""

    def __post_init__(self) -> None:
        found: list[str] = []
        if self.images < 0:
            found.append(f"images: found {self.images}, expected 0 (no end) or more")
        if self.on_loss not in ("fill", "fail", "skip"):
            found.append(f"on_loss: found {self.on_loss!r}, expected one of fill, fail, skip")
        if not self.timeout_s >= 0:
            found.append(f"timeout_s: found {self.timeout_s}, expected 0 (none) or more")
        if found:
            raise ConfigError(*found)


class Acquisition:
    """Takes the pulses of matched images in order: ``missing`` and ``wants`` before an image is put together, ``settle`` after.

    ``taken = good + damaged + filled``.
    """

    def __init__(
        self, rules: AcquisitionRules, pulse_id_step: int = 1, *, since_ns: int = 0, now_s: float = 0.0
    ) -> None:
        """``since_ns``: images that arrived before are of an earlier run."""
        self.rules = rules
        self._step = pulse_id_step
        self._since_ns = since_ns
        self._last: int | None = None
        self._last_s = now_s
        self.open = True
        self.taken = 0
        self.good = 0
        self.damaged = 0
        """Images taken that are not good."""
        self.filled = 0
        """Images that are missing and have a place."""
        self.lost = 0
        """Images that are missing and have none."""
        self.error = ""
        """Why it failed; empty while all is well."""

    def missing(self, pulse_id: int) -> range:
        """Return the pulses to fill before ``pulse_id``, the next image. A failure closes the acquisition."""
        if not self.open or self._last is None or pulse_id <= self._last + self._step:
            return _NONE
        gap = range(self._last + self._step, pulse_id, self._step)
        if len(gap) > LONGEST_FILL:
            self._lose(len(gap), f"the source jumped from pulse {self._last} to {pulse_id}")
            return _NONE
        return self._fill(gap)

    def wants(self, pulse_id: int) -> bool:
        """Return whether the image of this pulse is to be put together: it may still turn out to be an earlier run's."""
        return self.open and (self._last is None or pulse_id > self._last)

    def settle(self, pulse_id: int, head: ImageHead | None, arrived_ns: int, now_s: float) -> bool:
        """Count a wanted image and return whether it is taken. ``head`` None: it was lost on this host.

        A lost image takes its place, as zeros, where missing ones are filled.
        """
        if self._last is None and head and arrived_ns < self._since_ns:
            return False
        self._last, self._last_s = pulse_id, now_s
        if head is None:
            return bool(self._fill(range(pulse_id, pulse_id + 1)))
        self.taken += 1
        self.good += head.is_good_frame
        self.damaged += not head.is_good_frame
        if not head.is_good_frame and self.rules.on_loss == "fail":
            self._fail(f"the image of pulse {pulse_id} is damaged or not complete")
        self._end_if_done()
        return True

    def expire(self, now_s: float) -> range:
        """Return the pulses to fill because their time is over."""
        rules = self.rules
        if not self.open or not rules.timeout_s or not rules.images or now_s - self._last_s < rules.timeout_s:
            return _NONE
        left = rules.images - self.taken
        reason = f"{left} of {rules.images} images did not come within {rules.timeout_s:g} s"
        if rules.on_loss == "fill" and self._last is not None:
            return self._fill(range(self._last + self._step, self._last + (left + 1) * self._step, self._step))
        self.lost += left
        self._fail(reason)
        return _NONE

    def expect(self, pulse_id: int) -> None:
        """Count pulses from this one on as missing when the first image is a later one."""
        if self._last is None:
            self._last = pulse_id - self._step

    def close(self) -> None:
        """Take no more images."""
        self.open = False

    def _fill(self, gap: range) -> range:
        if self.rules.on_loss != "fill":
            first = f"pulse {gap[0]}" if len(gap) == 1 else f"{len(gap)} pulses from {gap[0]}"
            self._lose(len(gap), f"no image of {first}")
            return _NONE
        if self.rules.images:
            gap = gap[: self.rules.images - self.taken]
        self.taken += len(gap)
        self.filled += len(gap)
        if gap:
            self._last = gap[-1]
        self._end_if_done()
        return gap

    def _lose(self, images: int, reason: str) -> None:
        self.lost += images
        if self.rules.on_loss == "fail":
            self._fail(reason)

    def _fail(self, reason: str) -> None:
        self.error = reason
        self.open = False

    def _end_if_done(self) -> None:
        if self.rules.images and self.taken >= self.rules.images:
            self.open = False
