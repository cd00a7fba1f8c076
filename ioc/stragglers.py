"""Which workers have been in another state than the run for so long that they must be brought to it. Pure."""

from collections.abc import Mapping
from typing import Final

from detectors.run_state import RunState

PATIENCE_S: Final = 1.0
"""How long a worker may be in another state, s: snapshots come late, and transitions take time."""

RETRY_S: Final = 5.0
"""Pause between two attempts, s."""


class Stragglers:
    """Compares the workers' states with that of the run."""

    def __init__(self) -> None:
        self._due_s: dict[str, float] = {}

    def due(self, states: Mapping[str, RunState], run: RunState, now_s: float) -> list[str]:
        """Return the workers to bring to the state of the run now."""
        others = {worker for worker, state in states.items() if state is not run}
        self._due_s = {worker: self._due_s.get(worker, now_s + PATIENCE_S) for worker in others}
        found = [worker for worker in states if self._due_s.get(worker, now_s + 1) <= now_s]
        self._due_s |= dict.fromkeys(found, now_s + RETRY_S)
        return found
