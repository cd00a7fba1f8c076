"""Checked mode: a known word in the last four bytes of every slot shows that something wrote past the end.

Source: the fill patterns of LCLS-II's pools.
"""

from typing import Final

SENTINEL_BYTES: Final = 4

L1_SENTINEL: Final = 0xCDCDCDCD
TRANSITION_SENTINEL: Final = 0xEFEFEFEF
DMA_SENTINEL: Final = 0xABABABAB


class Sentinels:
    """The words at the ends of ``count`` slots of ``slot_bytes`` each in ``memory``, little-endian."""

    def __init__(self, memory: memoryview, count: int, slot_bytes: int, word: int) -> None:
        self._word = word.to_bytes(SENTINEL_BYTES, "little")
        self._places = [
            memory[(slot + 1) * slot_bytes - SENTINEL_BYTES : (slot + 1) * slot_bytes] for slot in range(count)
        ]
        for place in self._places:
            place[:] = self._word

    def intact(self, slot: int) -> bool:
        """Return whether the slot's word is still there, and put it back if not."""
        place = self._places[slot]
        if place == self._word:  # pyright: ignore[reportUnnecessaryComparison]  memoryview compares with bytes
            return True
        place[:] = self._word
        return False
