"""Which workers are out of step for so long that they must be brought along again. Pure; the clock is the caller's."""

from collections.abc import Mapping
from typing import Final

from detectors.run_state import RunState

PATIENCE_S: Final = 1.0
"""How long a worker may differ from the wish, s: snapshots are behind, and transitions take their time."""

RETRY_S: Final = 5.0
"""Pause between two attempts, s."""


class Stragglers:
    """Watches the workers' run states against the wished one."""

    def __init__(self) -> None:
        self._due_s: dict[str, float] = {}

    def due(self, states: Mapping[str, RunState], wish: RunState, now_s: float) -> list[str]:
        """Return the workers to bring along now."""
        behind = {worker for worker, state in states.items() if state is not wish}
        self._due_s = {worker: self._due_s.get(worker, now_s + PATIENCE_S) for worker in behind}
        found = [worker for worker in states if self._due_s.get(worker, now_s + 1) <= now_s]
        self._due_s |= dict.fromkeys(found, now_s + RETRY_S)
        return found
