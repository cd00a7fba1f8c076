"""When the records of many workers are brought up to date, so that an IOC of many modules does not take a processor. Pure."""

from typing import Any, Final

_PROMPT: Final = 16
"""So many workers are shown at every look."""

_REST_S: Final = 0.04
"""Each worker more lets all rest so much longer between two looks, s: 1 s with 41 workers."""


class Turns:
    """The turns of so many ``workers``. What waits is shown when the rest is over; a change of state does not wait."""

    def __init__(self, workers: int) -> None:
        self._rest_s = _REST_S * max(0, workers - _PROMPT)
        self._next_s: dict[str, float] = {}
        self._states: dict[str, Any] = {}
        self._waiting: set[str] = set()

    @property
    def rests(self) -> bool:
        """Whether anything ever waits."""
        return self._rest_s > 0

    def is_due(self, worker: str, state: Any, now_s: float, *, changed: bool) -> bool:
        """Return whether to show a worker now; ``changed``: its values are others than at the last call."""
        if changed:
            self._waiting.add(worker)
        if worker not in self._waiting:
            return False
        if state == self._states.get(worker) and now_s < self._next_s[worker]:
            return False
        self._waiting.remove(worker)
        self._states[worker], self._next_s[worker] = state, now_s + self._rest_s
        return True
