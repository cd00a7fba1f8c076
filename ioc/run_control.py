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

_DOWN: Final = (Service.DISABLE, Service.END_RUN, Service.UNCONFIGURE)

_ATTEMPTS: Final = 3
"""How often a worker that moves by itself is led from another state before that is given up for now."""

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

    A transition is done by all of them or by none: when one refuses, those that had accepted are brought back. A worker
    that is behind, or ahead, is led from where it is; one that goes to the wished state by itself, as a PvMonitor does
    whose camera is not there yet, is left to it.
    """

    def __init__(
        self,
        state: RunState,
        ask: Ask,
        responding: Callable[[], Iterable[str]],
        *,
        patience_s: Callable[[str], float] = lambda _: 5.0,
    ) -> None:
        """``patience_s(worker)`` is how long a worker may take over a transition."""
        self.state = state
        self._ask = ask
        self._responding = responding
        self._patience_s = patience_s
        self._waiting: dict[str, Service] = {}
        self._aims: dict[str, RunState] = {}
        self._turn = asyncio.Lock()
        self._changed = asyncio.Condition()

    @property
    def acquiring(self) -> bool:
        """Whether data is taken."""
        return self.state is RunState.ENABLED

    @property
    def progress(self) -> str:
        """Which workers are at work on which transition; empty when none is."""
        return ", ".join(f"{service.label}: waiting for {worker}" for worker, service in self._waiting.items())

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

    def started(self, worker: str, state: RunState) -> None:
        """Take note that a worker was started with ``state`` to go to."""
        self._aims[worker] = state

    def seen(self, worker: str, own: RunState) -> None:
        """Take note of where a worker is: one that has come to where it was to go goes no further by itself."""
        if own >= self._aims.get(worker, RunState.ENABLED):
            self._aims.pop(worker, None)

    def comes_by_itself(self, worker: str, own: RunState) -> bool:
        """Whether a worker in state ``own`` is on its way to the wished state."""
        return own < self.state and self._aims.get(worker) is self.state

    async def settle(self, worker: str) -> None:
        """Bring one worker to the wished state. Raises CommandError when it refuses."""
        async with self._turn:
            own = await self._own(worker)
            for _ in range(_ATTEMPTS):
                if self.comes_by_itself(worker, own):
                    return
                before = own
                try:
                    await self._send(worker, path_to(own, self.state))
                except CommandError:
                    # It may have moved meanwhile, by itself or led by timing: then it is led from where it is now.
                    own = await self._own(worker)
                    if own is before:
                        raise
                else:
                    return
            raise CommandError(f"found it in {own.label} after {_ATTEMPTS} attempts, expected {self.state.label}")

    async def _transition(self, service: Service) -> None:
        target = next_state(self.state, service)
        before: dict[str, RunState] = {}
        workers = list(self._responding())
        answers = await asyncio.gather(
            *(self._lead(worker, service, target, before) for worker in workers), return_exceptions=True
        )
        refusals = [f"{w}: {a}" for w, a in zip(workers, answers, strict=True) if isinstance(a, CommandError)]
        unexpected = [a for a in answers if isinstance(a, BaseException) and not isinstance(a, CommandError)]
        if refusals or unexpected:
            await asyncio.gather(*(self._bring_back(worker, own) for worker, own in before.items()))
            if unexpected:
                raise unexpected[0]
            raise CommandError(f"{service.label} refused by {'; '.join(refusals)}")
        log.info("%s: the run is %s", service.label, target.label)
        async with self._changed:
            self.state = target
            self._changed.notify_all()

    async def _lead(self, worker: str, service: Service, target: RunState, before: dict[str, RunState]) -> None:
        """Take one worker along, and note where it was before."""
        own = before[worker] = await self._own(worker)
        if own is self.state:
            await self._send(worker, [service])
        elif service in _DOWN:
            if own > target:
                await self._send(worker, path_to(own, target))
        elif own < target and self._aims.get(worker) is not target:
            await self._send(worker, path_to(own, target))

    async def _bring_back(self, worker: str, own: RunState) -> None:
        try:
            await self._send(worker, path_to(await self._own(worker), own))
        except CommandError as error:
            log.error("%s: could not be brought back to %s: %s", worker, own.label, error)  # noqa: TRY400

    async def _own(self, worker: str) -> RunState:
        return state_by_label((await self._ask(worker, "status"))["run_state"])

    async def _send(self, worker: str, services: Iterable[Service]) -> None:
        for service in services:
            self._waiting[worker] = service
            try:
                await self._ask(worker, "transition", timeout_s=self._patience_s(worker), service=service.label)
            finally:
                self._waiting.pop(worker, None)
            if service in _DOWN:  # who leads it down wants it to stay there
                self._aims.pop(worker, None)
            self.seen(worker, _LEADS_TO[service])


_LEADS_TO: Final = {
    Service.CONFIGURE: RunState.CONFIGURED,
    Service.BEGIN_RUN: RunState.RUNNING,
    Service.ENABLE: RunState.ENABLED,
    Service.DISABLE: RunState.RUNNING,
    Service.END_RUN: RunState.CONFIGURED,
    Service.UNCONFIGURE: RunState.UNCONFIGURED,
}
