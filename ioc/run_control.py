"""The run: which state is wished for, and how all workers are brought there together.

The wish lives here; each worker keeps its own state. A worker that is not there takes the wish when it comes.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from detectors.errors import CommandError
from detectors.run_state import RunState, Service, next_state, path_to

log = logging.getLogger(__name__)

TRANSITION_TIMEOUT_S: Final = 5.0
"""How long a worker may take for a transition, s: Configure waits for a PV to connect."""

Ask = Callable[..., Awaitable[Any]]
"""``ask(worker, command, timeout_s=..., **args)``; raises CommandError."""


def service_by_label(label: str) -> Service:
    """Return the transition called ``label``: ``BeginRun``."""
    return next(service for service in Service if service.label == label)


def state_by_label(label: str) -> RunState:
    """Return the run state called ``label``: ``Enabled``."""
    return RunState[label.upper()]


class RunControl:
    """Runs transitions over the workers that respond.

    A transition is done by all of them or by none: when one refuses, those that had accepted are brought back.
    """

    def __init__(self, state: RunState, ask: Ask, responding: Callable[[], Iterable[str]]) -> None:
        self.state = state
        self._ask = ask
        self._responding = responding
        self._turn = asyncio.Lock()
        self._changed = asyncio.Condition()

    @property
    def acquiring(self) -> bool:
        """Whether data is taken."""
        return self.state is RunState.ENABLED

    async def transition(self, service: Service) -> None:
        """Do one transition. Raises TransitionRefusedError or CommandError; then nothing has changed."""
        async with self._turn:
            await self._transition(service)

    async def acquire(self, on: Any) -> None:
        """Take the run to Enabled, or back to Configured. On a refusal it stays where it got to."""
        async with self._turn:
            target = RunState.ENABLED if on else RunState.CONFIGURED
            if not on and self.state < target:
                return
            for service in path_to(self.state, target):
                await self._transition(service)

    async def acquire_end(self, _: Any) -> None:
        """Return when data is no longer taken; a start that was asked for before has its turn first."""
        async with self._turn:
            pass
        async with self._changed:
            await self._changed.wait_for(lambda: not self.acquiring)
        async with self._turn:  # what ended it may go on to EndRun
            pass

    async def settle(self, worker: str) -> None:
        """Bring a worker that has just come to the wished state. Raises CommandError when it refuses."""
        async with self._turn:
            status = await self._ask(worker, "status")
            for service in path_to(state_by_label(status["run_state"]), self.state):
                await self._send(worker, service)

    async def _transition(self, service: Service) -> None:
        target = next_state(self.state, service)
        workers = list(self._responding())
        answers = await asyncio.gather(*(self._send(worker, service) for worker in workers), return_exceptions=True)
        refusals = [f"{w}: {a}" for w, a in zip(workers, answers, strict=True) if isinstance(a, CommandError)]
        unexpected = [a for a in answers if isinstance(a, BaseException) and not isinstance(a, CommandError)]
        if refusals or unexpected:
            accepted = [w for w, a in zip(workers, answers, strict=True) if not isinstance(a, BaseException)]
            await asyncio.gather(*(self._bring_back(worker, target) for worker in accepted))
            if unexpected:
                raise unexpected[0]
            raise CommandError(f"{service.label} refused by {'; '.join(refusals)}")
        log.info("%s: the run is %s", service.label, target.label)
        async with self._changed:
            self.state = target
            self._changed.notify_all()

    async def _bring_back(self, worker: str, state: RunState) -> None:
        try:
            for service in path_to(state, self.state):
                await self._send(worker, service)
        except CommandError as error:
            log.error("%s: could not be brought back to %s: %s", worker, self.state.label, error)  # noqa: TRY400

    async def _send(self, worker: str, service: Service) -> None:
        await self._ask(worker, "transition", timeout_s=TRANSITION_TIMEOUT_S, service=service.label)
