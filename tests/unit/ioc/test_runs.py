"""The runs of several detectors together."""

import asyncio
from typing import Any

import pytest

from detectors.errors import CommandError, TransitionRefusedError
from detectors.run_state import RunState, Service, next_state, service_by_label
from ioc.run_control import RunControl
from ioc.runs import Runs


class Rig:
    """Two detectors of one worker each; ``refuses`` are the workers that refuse transitions."""

    def __init__(self, left: RunState, right: RunState) -> None:
        self.states = {"pva.L": left, "pva.R": right}
        self.refuses: set[str] = set()
        self.runs = Runs({worker: self._run(worker, state) for worker, state in self.states.items()})
        for worker, state in self.states.items():
            self.runs.of(worker).seen(worker, state, 1)

    def _run(self, worker: str, state: RunState) -> RunControl:
        return RunControl(state, self.ask, lambda: [worker])

    async def ask(self, worker: str, command: str, timeout_s: float = 1.0, **args: Any) -> Any:
        if command == "transition":
            if worker in self.refuses:
                raise CommandError("no")
            self.states[worker] = next_state(self.states[worker], service_by_label(args["service"]))
        return {"run_state": self.states[worker].label}


def test_a_transition_goes_to_all() -> None:
    rig = Rig(RunState.RUNNING, RunState.RUNNING)
    asyncio.run(rig.runs.transition(Service.ENABLE))
    assert list(rig.states.values()) == [RunState.ENABLED, RunState.ENABLED]
    assert rig.runs.reached is RunState.ENABLED


def test_one_that_is_further_is_left_alone() -> None:
    rig = Rig(RunState.ENABLED, RunState.RUNNING)
    assert rig.runs.reached is RunState.ENABLED
    asyncio.run(rig.runs.transition(Service.ENABLE))
    assert list(rig.states.values()) == [RunState.ENABLED, RunState.ENABLED]


def test_one_that_is_legal_nowhere_is_refused() -> None:
    rig = Rig(RunState.CONFIGURED, RunState.UNCONFIGURED)
    with pytest.raises(TransitionRefusedError, match="the run is Configured"):
        asyncio.run(rig.runs.transition(Service.ENABLE))


def test_all_or_none() -> None:
    rig = Rig(RunState.RUNNING, RunState.RUNNING)
    rig.refuses = {"pva.R"}
    with pytest.raises(CommandError, match=r"^Enable refused by pva.R: no$"):
        asyncio.run(rig.runs.transition(Service.ENABLE))
    assert list(rig.states.values()) == [RunState.RUNNING, RunState.RUNNING]
    assert [rig.runs.of(worker).state for worker in rig.states] == [RunState.RUNNING, RunState.RUNNING]


def test_the_state_of_all_is_the_lowest_on_the_way_to_one_state() -> None:
    rig = Rig(RunState.RUNNING, RunState.RUNNING)
    for worker in rig.states:
        rig.runs.of(worker).state = RunState.ENABLED
    rig.runs.of("pva.L").seen("pva.L", RunState.ENABLED, 2)
    assert rig.runs.reached is RunState.RUNNING
    assert rig.runs.behind == "pva.R is Running, the run is to be Enabled"


def test_one_that_is_enabled_waits_for_the_other_on_its_way() -> None:
    rig = Rig(RunState.ENABLED, RunState.UNCONFIGURED)
    seen: list[RunState] = []
    ask = rig.ask

    async def watched(worker: str, command: str, timeout_s: float = 1.0, **args: Any) -> Any:
        seen.append(rig.runs.reached)
        return await ask(worker, command, timeout_s, **args)

    rig.ask = watched  # type: ignore[method-assign]
    rig.runs = Runs({worker: rig._run(worker, state) for worker, state in rig.states.items()})
    for worker, state in rig.states.items():
        rig.runs.of(worker).seen(worker, state, 1)
    asyncio.run(rig.runs.of("pva.R").acquire(1))
    assert seen[0] is RunState.UNCONFIGURED
    assert RunState.ENABLED not in seen
    assert rig.runs.reached is RunState.ENABLED


def test_the_state_of_all_is_the_highest_on_the_way_down() -> None:
    rig = Rig(RunState.ENABLED, RunState.ENABLED)
    for worker in rig.states:
        rig.runs.of(worker).state = RunState.CONFIGURED
    rig.runs.of("pva.L").seen("pva.L", RunState.CONFIGURED, 2)
    assert rig.runs.reached is RunState.ENABLED
    rig.runs.of("pva.R").seen("pva.R", RunState.CONFIGURED, 2)
    assert rig.runs.reached is RunState.CONFIGURED
