"""The runs of a server: each detector has its own, and a transition goes to all of them."""

import asyncio
from collections.abc import Mapping

from detectors.errors import CommandError
from detectors.run_state import RunState, Service, is_legal, next_state, path_to
from ioc.run_control import RunControl


class Runs:
    """All runs together. A detector whose acquisition goes on alone may be in another state than the others."""

    def __init__(self, runs: Mapping[str, RunControl]) -> None:
        """Take the run of each worker with a source, by worker; the modules of one detector share theirs."""
        self._of = runs
        self._all = list(dict.fromkeys(runs.values()))

    def __contains__(self, worker: str) -> bool:
        return worker in self._of

    def of(self, worker: str) -> RunControl:
        """Return the run that a worker takes part in."""
        return self._of[worker]

    @property
    def states(self) -> dict[str, RunState]:
        """The state of each worker that responds."""
        return {worker: state for run in self._all for worker, state in run.states.items()}

    @property
    def reached(self) -> RunState:
        """The state that all detectors have reached on the way to the same one, the highest when they are not to be in the same.

        As of the workers of one run: the lowest of them while one is still to go up, else the highest.
        """
        reached, aims = [run.reached for run in self._all], {run.aim for run in self._all}
        return min(reached) if len(aims) == 1 and min(reached) < min(aims) else max(reached)

    @property
    def progress(self) -> str:
        """The workers at work on a transition; empty when there are none."""
        return ", ".join(filter(None, (run.progress for run in self._all)))

    @property
    def behind(self) -> str:
        """The workers in a lower state than their run; empty when there are none."""
        return ", ".join(filter(None, (run.behind for run in self._all)))

    async def transition(self, service: Service) -> None:
        """Do one transition in every run where it is legal, or in none.

        Raises TransitionRefusedError when it is legal in none, CommandError when a worker refuses.
        """
        runs = [run for run in self._all if is_legal(run.state, service)]
        if not runs:
            next_state(self._all[0].state, service)  # raises
        before = [run.state for run in runs]
        answers = await asyncio.gather(*(run.transition(service) for run in runs), return_exceptions=True)
        failed = [answer for answer in answers if answer is not None]
        if not failed:
            return
        for run, state, answer in zip(runs, before, answers, strict=True):
            if answer is None:
                for back in path_to(run.state, state):
                    await run.transition(back)
        for answer in failed:
            if not isinstance(answer, CommandError):
                raise answer
        if len(failed) == 1:
            raise failed[0]
        raise CommandError("; ".join(map(str, failed)))
