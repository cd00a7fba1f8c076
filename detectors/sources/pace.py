"""How long to sleep between two looks at the socket: long enough for full batches, too short for the buffer to fill. Pure.

Waking for every packet is what makes receivers expensive: a look that brings 100 packets costs little more than one that
brings a single one.
"""

from typing import Final

TARGET_PACKETS: Final = 192
"""Packets that a look should find: three quarters of a batch, so that it is seldom cut in two."""

SHORTEST_S: Final = 0.3e-3
LONGEST_S: Final = 10e-3
"""Bounds of a sleep: below the first it costs more than it saves, above the second frames come noticeably late: one period at 100 frames/s."""

WORTHWHILE_S: Final = 60e-6
"""A sleep shorter than this takes longer than asked for."""

LINE_BYTES_PER_S: Final = 1.25e9
"""A 10 Gbit/s line: how fast the packets of one frame may follow each other whatever the average is."""

_WINDOW_S: Final = 0.05
"""The rate is measured over this long, s: several frames, or one slow one."""


class Pace:
    """Measures the packet rate and derives the tick from it.

    ``buffer_packets``: what the socket buffer holds. A tick stays under a quarter of it, at the average rate; when it
    does not hold two frames also at line rate, because a detector may send a whole frame at once.
    """

    def __init__(self, *, packet_bytes: int, packets_per_frame: int, buffer_packets: int) -> None:
        self._quarter = buffer_packets / 4
        tight = buffer_packets < 2 * packets_per_frame
        self._longest = min(LONGEST_S, self._quarter * packet_bytes / LINE_BYTES_PER_S) if tight else LONGEST_S
        self._shortest = min(SHORTEST_S, self._longest)
        self._since = 0.0
        self._packets = 0
        self.packets_hz = 0.0
        """Measured rate."""
        self.tick_s = self._usable(self._shortest)
        """How long to sleep after a batch that was not full; 0: look again at once."""

    def add(self, packets: int, now: float) -> None:
        """Hear that a look found ``packets``. ``now``: monotonic, s."""
        self._packets += packets
        elapsed = now - self._since
        if elapsed < _WINDOW_S:
            return
        self.packets_hz = self._packets / elapsed
        self._since, self._packets = now, 0
        tick = self._longest
        if self.packets_hz:
            most = min(self._longest, self._quarter / self.packets_hz)
            tick = min(max(TARGET_PACKETS / self.packets_hz, self._shortest), most)
        self.tick_s = self._usable(tick)

    @staticmethod
    def _usable(tick_s: float) -> float:
        return tick_s if tick_s >= WORTHWHILE_S else 0.0
