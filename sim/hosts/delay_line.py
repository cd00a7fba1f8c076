"""A link that loses and delays, as a queue of what is under way on it: values in, values out, with the time passed in."""

import random
from collections import deque


class DelayLine:
    """Packets come out ``delay_s`` after they went in, in order; of each 1 the fraction ``loss`` is lost.

    It holds ``limit`` packets, and loses those that come while it is full, as a router does.
    """

    def __init__(self, delay_s: float, loss: float, *, seed: int, limit: int = 4096) -> None:
        self.delay_s = delay_s
        self.loss = loss
        self.limit = limit
        self.lost = 0
        """Packets lost by chance."""
        self.dropped = 0
        """Packets lost because it was full."""
        self._random = random.Random(seed)  # noqa: S311  to be repeated, not to be secret
        self._under_way: deque[tuple[float, bytes]] = deque()

    def put(self, packet: bytes, now_s: float) -> None:
        """Take in a packet."""
        if self._random.random() < self.loss:
            self.lost += 1
        elif len(self._under_way) >= self.limit:
            self.dropped += 1
        else:
            self._under_way.append((now_s + self.delay_s, packet))

    def due(self, now_s: float) -> list[bytes]:
        """Take out what has arrived by now."""
        arrived: list[bytes] = []
        while self._under_way and self._under_way[0][0] <= now_s:
            arrived.append(self._under_way.popleft()[1])
        return arrived

    def wait_s(self, now_s: float) -> float | None:
        """Time until the next packet arrives; None when there is none."""
        return max(0.0, self._under_way[0][0] - now_s) if self._under_way else None
