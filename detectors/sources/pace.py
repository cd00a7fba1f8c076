"""How long to sleep between two receive calls: long enough for full batches, too short for the buffer to fill. Pure.

Waking for every packet is what makes receivers expensive: a call that returns hundreds of packets costs little more than
one that returns a single one, since most of the cost is cold caches.
"""

from typing import Final

TARGET_PACKETS: Final = 1000
"""Packets that come in one sleep: half of a batch, since a receive call also returns those that came while the last ones were handled.
Batches that are cut in two cost more, and so do larger ones, whose packets have left the caches."""

SHORTEST_S: Final = 0.3e-3
"""A sleep is not made shorter than this, s: it would cost more than it saves."""

WORTHWHILE_S: Final = 60e-6
"""A sleep shorter than this takes longer than asked for."""

LINE_BYTES_PER_S: Final = 1.25e9
"""A 10 Gbit/s line: how fast the packets of one frame may follow each other whatever the average is."""

CAUTIOUS_S: Final = 2e-3
"""Longest sleep while the rate is not known yet."""

SILENCE_S: Final = 0.2
"""After so long without a packet the rate is not known any more: a run may begin at any."""

_WINDOW_S: Final = 0.05
"""The rate is measured over this long, s: several frames, or one slow one."""


class Pace:
    """Measures the packet rate and derives the tick from it.

    ``buffer_packets``: what the socket buffer holds; ``longest_s``: how long packets may wait there at most. A tick stays
    under a quarter of the buffer at the average rate, and under three quarters of it at line rate, should the rate rise at
    once; when the buffer does not hold two frames under a quarter then, too: a detector may send a whole frame at once.
    """

    def __init__(self, *, packet_bytes: int, packets_per_frame: int, buffer_packets: int, longest_s: float) -> None:
        self._quarter = buffer_packets / 4
        share = buffer_packets * (0.25 if buffer_packets < 2 * packets_per_frame else 0.75)
        self._longest = min(longest_s, share * packet_bytes / LINE_BYTES_PER_S)
        self._shortest = min(SHORTEST_S, self._longest)
        self._heard = 0.0
        self._begin(0.0)

    def add(self, packets: int, now: float) -> None:
        """Account for the ``packets`` of one receive call. ``now``: monotonic, s."""
        if packets:
            if now - self._heard > SILENCE_S:
                self._begin(now)
            else:
                self._packets += packets
            self._heard = now
        elapsed = now - self._since
        if elapsed < _WINDOW_S:
            return
        self.packets_hz = self._packets / elapsed
        self._since, self._packets = now, 0
        if self.packets_hz:
            most = min(self._longest, self._quarter / self.packets_hz)
            self.tick_s = self._usable(min(max(TARGET_PACKETS / self.packets_hz, self._shortest), most))

    def _begin(self, now: float) -> None:
        """Begin to measure: nothing is known of when the packets that are there now were sent."""
        self._since, self._packets = now, 0
        self.packets_hz = 0.0
        """Measured rate; 0: not known."""
        self.tick_s = self._usable(min(CAUTIOUS_S, self._longest))
        """How long to sleep after a batch that was not full; 0: receive again at once."""

    @staticmethod
    def _usable(tick_s: float) -> float:
        return tick_s if tick_s >= WORTHWHILE_S else 0.0
