"""Which workers have been in another state than the run for so long that they must be brought to it. Pure."""

from collections.abc import Iterable
from typing import Final

PATIENCE_S: Final = 1.0
"""How long a worker may be in another state, s: snapshots come late, and transitions take time."""

RETRY_S: Final = 5.0
"""Pause between two attempts, s."""


class Stragglers:
    """Remembers since when workers are in another state."""

    def __init__(self) -> None:
        self._due_s: dict[str, float] = {}

    def due(self, others: Iterable[str], now_s: float) -> list[str]:
        """Return which of the workers ``others``, that are in another state than their run, to bring to it now."""
        self._due_s = {worker: self._due_s.get(worker, now_s + PATIENCE_S) for worker in others}
        found = [worker for worker, due_s in self._due_s.items() if due_s <= now_s]
        self._due_s |= dict.fromkeys(found, now_s + RETRY_S)
        return found
