"""The newest pulse that all modules have, for viewers, who need no other. Pure.

The modules are looked at now and then; each look brings the pulses that were finished since the one before.
"""

from collections.abc import Sequence
from typing import Final

from detectors.assembly.sync import Matched

_KEPT: Final = 1024
"""Pulses of a module that are kept until the others have one of them."""


class NewestPulse:
    """Chooses the pulse to show. A module that has had nothing for ``missing_after_s`` while others had is left out."""

    def __init__(self, modules: int, missing_after_s: float) -> None:
        self._missing_after_s = missing_after_s
        self._all = (1 << modules) - 1
        self._waiting: list[set[int]] = [set() for _ in range(modules)]
        self._waiting_since: float | None = None
        self.missing = 0
        """Modules that are left out: bit m for module m."""

    def take(self, finished: Sequence[Sequence[int]], now: float) -> Matched | None:
        """Take the pulses that each module has finished since the last call; return the one to show, None when there is none.

        ``now``: monotonic, s.
        """
        for m, pulses in enumerate(finished):
            if pulses:
                self.missing &= ~(1 << m)
                kept = self._waiting[m]
                kept.update(pulses)
                if len(kept) > _KEPT:
                    self._waiting[m] = set(sorted(kept)[-_KEPT:])
        if not any(self._waiting):
            return None
        common = self._common()
        if common:
            return self._show(max(common))
        if self._waiting_since is None:
            self._waiting_since = now
        if now - self._waiting_since < self._missing_after_s:
            return None
        silent = sum(1 << m for m, pulses in enumerate(self._waiting) if not pulses)
        self.missing |= silent
        # Those that are there may still have no pulse in common: the oldest of their newest has most of them.
        common = self._common()
        return self._show(max(common) if common else min(max(pulses) for pulses in self._living()))

    def forget(self) -> None:
        """Begin again."""
        self._waiting = [set() for _ in self._waiting]
        self._waiting_since, self.missing = None, 0

    def _living(self) -> list[set[int]]:
        return [pulses for m, pulses in enumerate(self._waiting) if not self.missing >> m & 1]

    def _common(self) -> set[int]:
        first, *others = self._living()
        return first.intersection(*others)

    def _show(self, pulse_id: int) -> Matched:
        present = sum(1 << m for m, pulses in enumerate(self._waiting) if pulse_id in pulses)
        self._waiting = [{pulse for pulse in pulses if pulse > pulse_id} for pulses in self._waiting]
        self._waiting_since = None
        return Matched(pulse_id, present)
