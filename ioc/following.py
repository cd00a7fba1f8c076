"""Workers are brought to their settings and to the state of the run when they begin to respond, and when they leave it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from detectors.errors import CommandError
from ioc.roster import Roster
from ioc.runs import Runs
from ioc.stragglers import Stragglers

log = logging.getLogger(__name__)


class Follower:
    """Settles workers in tasks of its own. ``settle(worker)`` raises CommandError when the worker refuses.

    With ``timing`` the run state of PvMonitors follows the timing stream and is left alone.
    """

    def __init__(self, roster: Roster, runs: Runs, settle: Callable[[str], Awaitable[None]], *, timing: bool) -> None:
        self._roster = roster
        self._runs = runs
        self._settle = settle
        self._timing = timing
        self._settled: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stragglers = Stragglers()
        self._refusals: dict[str, str] = {}

    @property
    def message(self) -> str:
        """The workers that refuse to follow, and why; empty when there are none."""
        return "; ".join(f"{w}: {refusal}" for w, refusal in self._refusals.items() if w in self._roster.responding)

    def follow(self, now_s: float) -> None:
        """Begin to settle all workers that need it."""
        self._settled &= self._roster.responding
        others = [
            worker
            for worker, state in self._runs.states.items()
            if worker in self._settled
            and state is not self._runs.of(worker).state
            and not self._runs.of(worker).comes_by_itself(worker, state)
            and not (self._timing and worker.startswith("pva."))
        ]
        due = self._stragglers.due(others, now_s)
        for worker in (*(self._roster.responding - self._settled), *due):
            if worker not in self._tasks:
                self._tasks[worker] = asyncio.create_task(self._settle_one(worker), name=f"settle {worker}")

    async def close(self) -> None:
        """Cancel what is in progress."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _settle_one(self, worker: str) -> None:
        try:
            await self._settle(worker)
        except CommandError as error:
            if self._refusals.get(worker) != str(error):  # it is tried again and again, and logged once
                log.warning("%s does not follow: %s", worker, error)
            self._refusals[worker] = str(error)
        else:
            self._refusals.pop(worker, None)
        finally:
            self._settled.add(worker)
            self._tasks.pop(worker, None)
