"""How much a counter grew recently: totals never decrease, but alarms must clear."""

from collections import deque


class RecentGain:
    """The gain of one counter over the last ``span_s``. The clock, in s, is the caller's."""

    def __init__(self, span_s: float) -> None:
        self._span_s = span_s
        self._gains: deque[tuple[float, int]] = deque()
        self._sum = 0
        self._total: int | None = None

    def add(self, now_s: float, total: int) -> int:
        """Take the counter's present total and return its gain over the span that ends now.

        The first total is the start. A total that decreased is a counter that restarted at 0.
        """
        if self._total is not None:
            gain = total - self._total if total >= self._total else total
            if gain:
                self._gains.append((now_s, gain))
                self._sum += gain
        self._total = total
        while self._gains and self._gains[0][0] <= now_s - self._span_s:
            self._sum -= self._gains.popleft()[1]
        return self._sum
