"""What is remembered of closed frames: whether a packet of one is a duplicate or late. Pure."""

from typing import Final

import numpy as np

from detectors.assembly.packet_run import PacketRun

REMEMBERED: Final = 128
"""Frames remembered: a network does not delay a packet by more, and a detector that restarts is soon beyond them."""

_NONE: Final = -1
_EMPTY, _PART, _WHOLE = range(3)


class ClosedFrames:
    """A ring of the masks of the newest closed frames."""

    def __init__(self, packets: int) -> None:
        self._index = [_NONE] * REMEMBERED
        self._bits = [0] * REMEMBERED
        self._pulse: list[int | None] = [None] * REMEMBERED
        self._kind = [_EMPTY] * REMEMBERED
        self._mask = np.zeros((REMEMBERED, packets), np.bool_)

    def put(self, index: int, bits: int, pulse: int | None, mask: np.ndarray) -> None:
        """Remember a frame; ``bits`` and ``pulse`` are the pulse_id on its first packet (see PacketRun)."""
        k = index % REMEMBERED
        self._index[k], self._bits[k], self._pulse[k], self._kind[k] = index, bits, pulse, _PART
        self._mask[k] = mask

    def put_whole(self, index: int, bits: int, pulse: int | None) -> None:
        """Remember a frame of which every packet came."""
        k = index % REMEMBERED
        self._index[k], self._bits[k], self._pulse[k], self._kind[k] = index, bits, pulse, _WHOLE

    def put_empty(self, index: int) -> None:
        """Remember a frame of which nothing came."""
        k = index % REMEMBERED
        self._index[k], self._kind[k] = index, _EMPTY

    def forget(self) -> None:
        """Forget all."""
        self._index = [_NONE] * REMEMBERED

    def duplicates(self, run: PacketRun, newest_pulse: int) -> int | None:
        """Return how many packets of a run had come already; the others are late.

        None when the run is of no remembered frame: its framenum is not known, or its pulse_id is another (a restarted
        detector counts from 1 again, but its pulses go on). An empty frame had no pulse_id: there anything below
        ``newest_pulse`` will do.
        """
        k = run.index % REMEMBERED
        if self._index[k] != run.index:
            return None
        if self._kind[k] == _EMPTY:
            return None if run.pulse is not None and newest_pulse and run.pulse >= newest_pulse else 0
        if not run.agrees(self._bits[k], self._pulse[k]):
            return None
        if self._kind[k] == _WHOLE:
            return len(run.pixels)
        return int(np.count_nonzero(self._mask[k, run.first : run.first + len(run.pixels)]))
