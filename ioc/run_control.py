"""The run: the state that it is to be in, and how all workers are brought there together.

Each worker keeps its own state. A worker that does not respond is brought to the state of the run when it does.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from detectors.errors import CommandError
from detectors.run_state import RunState, Service, next_state, path_to

log = logging.getLogger(__name__)

_DOWN: Final = (Service.DISABLE, Service.END_RUN, Service.UNCONFIGURE)

_ATTEMPTS: Final = 3
"""How often a worker that changes its state meanwhile is led from the new one before settling it fails."""

Ask = Callable[..., Awaitable[Any]]
"""``ask(worker, command, timeout_s=..., **args)``; raises CommandError."""


def state_by_label(label: str) -> RunState:
    """Return the run state called ``label``: ``Enabled``."""
    return RunState[label.upper()]


class RunControl:
    """Runs transitions over the workers that respond.

    A transition is done by all of them or by none: when one refuses, those that had accepted are brought back. A worker
    in another state than the run is led from its own. One that goes to the state of the run by itself, as a PvMonitor
    does whose PV is not connected yet, is left alone.
    """

    def __init__(
        self,
        state: RunState,
        ask: Ask,
        responding: Callable[[], Iterable[str]],
        *,
        patience_s: Callable[[str], float] = lambda _: 5.0,
    ) -> None:
        """``responding()`` are the workers to lead; ``patience_s(worker)`` is the time-out of a transition."""
        self.state = state
        """The state that the run is to be in: that of the last transition."""
        self._leading_to: RunState | None = None
        self._acquire_to: RunState | None = None
        self._ask = ask
        self._responding = responding
        self._patience_s = patience_s
        self._waiting: dict[str, Service] = {}
        self._aims: dict[str, RunState] = {}
        self._own_states: dict[str, RunState] = {}
        self._answered_ns: dict[str, int] = {}
        self._turn = asyncio.Lock()
        self._changed = asyncio.Condition()

    @property
    def acquiring(self) -> bool:
        """Whether the run is to take data."""
        return self.state is RunState.ENABLED

    @property
    def aim(self) -> RunState:
        """The state that the run is to be in, at the end of what is in progress."""
        if self._acquire_to is not None:
            return self._acquire_to
        return self.state if self._leading_to is None else self._leading_to

    @property
    def states(self) -> dict[str, RunState]:
        """The state of each worker that responds."""
        return {worker: self._own_states[worker] for worker in self._responding() if worker in self._own_states}

    @property
    def reached(self) -> RunState:
        """The state that all workers that respond have reached, on the way to that of the run.

        It is the lowest of them while one is still to go up, else the highest; Unconfigured when none responds.
        """
        states = self.states.values() or [RunState.UNCONFIGURED]
        return min(states) if min(states) < self.aim else max(states)

    @property
    def progress(self) -> str:
        """The workers at work on a transition; empty when there are none."""
        return ", ".join(f"{service.label}: waiting for {worker}" for worker, service in self._waiting.items())

    @property
    def behind(self) -> str:
        """The workers in a lower state than the run; empty when there are none."""
        return ", ".join(
            f"{worker} is {state.label}, the run is to be {self.state.label}"
            for worker, state in self.states.items()
            if state < self.state
        )

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
            self._acquire_to = target
            try:
                for service in path_to(self.state, target):
                    await self._transition(service)
            finally:
                self._acquire_to = None

    async def acquire_end(self, _: Any) -> None:
        """Return when the run is no longer to take data, after a start that is in progress."""
        async with self._turn:
            pass
        async with self._changed:
            await self._changed.wait_for(lambda: not self.acquiring)
        async with self._turn:  # the stop may go on to EndRun
            pass

    def start_state(self, worker: str, *, configured: bool) -> RunState:
        """Return the state that a worker is to start in, and go to by itself.

        One whose outputs are not as ``configured`` must not take data before they are set: it starts Configured at most.
        """
        state = self._aims[worker] = self.state if configured else min(self.state, RunState.CONFIGURED)
        self._own_states.pop(worker, None)
        return state

    def seen(self, worker: str, own: RunState, made_ns: int) -> None:
        """Note the state of a worker's snapshot, made at ``made_ns``.

        One that was made before the worker answered its last transition says what was.
        """
        if made_ns >= self._answered_ns.get(worker, 0):
            self._moved(worker, own)

    def _moved(self, worker: str, own: RunState) -> None:
        self._own_states[worker] = own
        if own >= self._aims.get(worker, RunState.ENABLED):  # it goes no further by itself
            self._aims.pop(worker, None)

    def comes_by_itself(self, worker: str, own: RunState) -> bool:
        """Whether a worker in state ``own`` goes to the state of the run without a command."""
        return own < self.state and self._aims.get(worker) is self.state

    async def settle(self, worker: str) -> None:
        """Bring one worker to the state of the run. Raises CommandError when it refuses."""
        if not self._turn.locked() and self._own_states.get(worker) is self.state:
            return  # its snapshot says so; to ask many, one after another on a slow network, would hold up the commands
        async with self._turn:
            own = await self._own(worker)
            for _ in range(_ATTEMPTS):
                if self.comes_by_itself(worker, own):
                    return
                before = own
                try:
                    await self._send(worker, own, path_to(own, self.state))
                except CommandError:
                    # It may have changed its state meanwhile, by itself or by timing.
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
        self._leading_to = target
        try:
            answers = await asyncio.gather(
                *(self._lead(worker, service, target, before) for worker in workers), return_exceptions=True
            )
        finally:
            self._leading_to = None
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
        """Lead one worker, and note its state before."""
        own = before[worker] = await self._own(worker)
        if own is self.state:
            await self._send(worker, own, [service])
        elif service in _DOWN:
            if own > target:
                await self._send(worker, own, path_to(own, target))
        elif own < target and self._aims.get(worker) is not target:
            await self._send(worker, own, path_to(own, target))

    async def _bring_back(self, worker: str, own: RunState) -> None:
        try:
            now = await self._own(worker)
            await self._send(worker, now, path_to(now, own))
        except CommandError as error:
            log.error("%s: could not be brought back to %s: %s", worker, own.label, error)  # noqa: TRY400

    async def _own(self, worker: str) -> RunState:
        return state_by_label((await self._ask(worker, "status"))["run_state"])

    async def _send(self, worker: str, own: RunState, services: Iterable[Service]) -> None:
        """Send transitions to a worker in state ``own``."""
        for service in services:
            self._waiting[worker] = service
            try:
                await self._ask(worker, "transition", timeout_s=self._patience_s(worker), service=service.label)
            finally:
                self._waiting.pop(worker, None)
            if service in _DOWN:  # it must not go up again by itself
                self._aims.pop(worker, None)
            self._answered_ns[worker] = time.time_ns()
            own = next_state(own, service)
            self._moved(worker, own)
