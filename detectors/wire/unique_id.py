"""NTNDArray's uniqueId unwrapped: missed images, repeated ones, and restarts of the source's count."""

from dataclasses import dataclass
from typing import Final

_MAX_GAP: Final = 1 << 24
"""Longest gap that counts as missed images and not as a restart of the source: 4.6 hours at 1 kHz."""


@dataclass(frozen=True, slots=True)
class Step:
    """The meaning of one uniqueId."""

    value: int
    """Unwrapped: grows without bound until the source restarts its count. Never negative."""
    missed: int = 0
    """Images sent since the last one that were not received."""
    repeated: bool = False
    """The last image was sent again, as servers do after a reconnection."""
    restarted: bool = False
    """The source restarted its count; how many images were missed is unknown."""


class UniqueIds:
    """Unwraps a 32-bit counter that may wrap at 2**31 (to 0 or to negative values) or at 2**32."""

    def __init__(self) -> None:
        self._raw: int | None = None
        self._value = 0

    @property
    def last(self) -> tuple[int, int]:
        """The last one, unwrapped and as received; -1 before the first."""
        return (-1, -1) if self._raw is None else (self._value, self._raw)

    def go_on(self, value: int, raw: int) -> None:
        """Go on after one that was received before, unwrapped and as received."""
        self._value, self._raw = value, raw

    def step(self, unique_id: int) -> Step:
        """Return the meaning of a received ``unique_id``; only its low 32 bits count."""
        raw = unique_id & 0xFFFF_FFFF
        last, self._raw = self._raw, raw
        if last is None:
            self._value = raw
            return Step(raw)
        ahead = (raw - last) & 0xFFFF_FFFF
        if raw < 0x8000_0000 and 0x8000_0000 - last <= _MAX_GAP and last < 0x8000_0000:
            # just below 2**31: a small number next is a wrap of 31 bits, which areaDetector makes of positive ids
            ahead = min(ahead, (raw - last) & 0x7FFF_FFFF)
        if ahead == 0:
            return Step(self._value, repeated=True)
        if ahead <= _MAX_GAP:
            self._value += ahead
            return Step(self._value, missed=ahead - 1)
        self._value = raw
        return Step(raw, restarted=True)
