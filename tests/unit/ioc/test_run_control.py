import asyncio
import time
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from detectors.errors import CommandError, TransitionRefusedError
from detectors.run_state import RunState, Service, next_state, service_by_label
from ioc.run_control import RunControl, state_by_label

NAMES = ("a", "b", "c")
DRIVEN = [Service.CONFIGURE, Service.BEGIN_RUN, Service.ENABLE, Service.DISABLE, Service.END_RUN, Service.UNCONFIGURE]


class Workers:
    """Workers that keep a run state each, may be away, and may refuse a transition."""

    def __init__(self) -> None:
        self.states = dict.fromkeys(NAMES, RunState.UNCONFIGURED)
        self.here = set(NAMES)
        self.refuses: dict[str, Service] = {}

    async def ask(self, worker: str, command: str, timeout_s: float = 1.0, **args: Any) -> Any:
        await asyncio.sleep(0)
        if command == "status":
            return {"run_state": self.states[worker].label}
        service = service_by_label(args["service"])
        if self.refuses.get(worker) is service:
            raise CommandError("not now")
        try:
            self.states[worker] = next_state(self.states[worker], service)
        except TransitionRefusedError as error:
            raise CommandError(str(error)) from None
        return None


class Machine(RuleBasedStateMachine):
    """Against the rule itself: all who are here follow, or nothing has changed."""

    def __init__(self) -> None:
        super().__init__()
        self.workers = Workers()
        self.run = RunControl(RunState.UNCONFIGURED, self.workers.ask, lambda: sorted(self.workers.here))
        self.astray: set[str] = set()

    def here(self) -> dict[str, RunState]:
        return {name: self.workers.states[name] for name in self.workers.here}

    @rule(service=st.sampled_from(DRIVEN))
    def transition(self, service: Service) -> None:
        before, states = self.run.state, self.here()
        try:
            target = next_state(before, service)
        except TransitionRefusedError:
            with pytest.raises(TransitionRefusedError):
                asyncio.run(self.run.transition(service))
            assert (self.run.state, self.here()) == (before, states)
            return
        try:
            asyncio.run(self.run.transition(service))
        except CommandError:
            assert self.workers.refuses.keys() & self.workers.here
            assert (self.run.state, self.here()) == (before, states)
            return
        assert self.run.state is target
        down = service in (Service.DISABLE, Service.END_RUN, Service.UNCONFIGURE)
        for name, state in self.here().items():
            assert state <= target if down else state >= target, name

    @rule(on=st.booleans())
    def acquire(self, on: bool) -> None:
        before, states = self.run.state, self.here()
        try:
            asyncio.run(self.run.acquire(on))
        except CommandError:
            assert on
            assert self.workers.refuses.keys() & self.workers.here
        else:
            assert self.run.state is (RunState.ENABLED if on else min(before, RunState.CONFIGURED))
            if not on and before > RunState.CONFIGURED:
                assert all(self.here()[name] <= RunState.CONFIGURED for name in states)

    @rule(name=st.sampled_from(NAMES))
    def go_away(self, name: str) -> None:
        self.workers.here.discard(name)

    @rule(name=st.sampled_from(NAMES), state=st.sampled_from(RunState))
    def come_back(self, name: str, state: RunState) -> None:
        self.workers.states[name] = state
        self.workers.refuses.pop(name, None)
        self.run.state, before = state, self.run.state
        self.run.start_state(name, configured=True)
        self.run.state = before
        asyncio.run(self.run.settle(name))
        self.workers.here.add(name)
        self.astray.discard(name)

    @rule(name=st.sampled_from(NAMES), state=st.sampled_from(RunState))
    def change_by_itself(self, name: str, state: RunState) -> None:
        self.workers.states[name] = state
        self.astray.add(name)

    @rule(name=st.sampled_from(NAMES), service=st.sampled_from([Service.CONFIGURE, Service.BEGIN_RUN, Service.ENABLE]))
    def begin_to_refuse(self, name: str, service: Service) -> None:
        self.workers.refuses = {name: service}

    @invariant()
    def who_is_here_agrees(self) -> None:
        for name in self.workers.here - self.astray:
            assert self.workers.states[name] is self.run.state, name


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_the_end_of_an_acquisition_is_waited_for() -> None:
    async def story() -> list[str]:
        workers = Workers()
        run = RunControl(RunState.UNCONFIGURED, workers.ask, lambda: NAMES)
        told: list[str] = []

        async def wait() -> None:
            await run.acquire_end(1)
            told.append(f"ended {run.state.label}")

        start = asyncio.create_task(run.acquire(1))  # as Acquire and AcquireBusy are processed: one after the other
        waiting = asyncio.create_task(wait())
        await start
        told.append("started")
        await run.acquire(0)
        await waiting
        return told

    assert asyncio.run(story()) == ["started", "ended Configured"]


def test_an_end_is_not_waited_for_when_the_start_is_refused() -> None:
    async def story() -> None:
        workers = Workers()
        workers.refuses["b"] = Service.BEGIN_RUN
        run = RunControl(RunState.UNCONFIGURED, workers.ask, lambda: NAMES)
        start = asyncio.create_task(run.acquire(1))
        waiting = asyncio.create_task(run.acquire_end(1))
        with pytest.raises(CommandError, match="BeginRun refused by b: not now"):
            await start
        await waiting
        assert run.state is RunState.CONFIGURED

    asyncio.run(story())


@pytest.mark.parametrize("state", RunState)
def test_states_are_known_by_their_labels(state: RunState) -> None:
    assert state_by_label(state.label) is state


def test_who_comes_by_itself_is_left_to_it() -> None:
    async def story() -> None:
        workers = Workers()
        workers.refuses["c"] = Service.CONFIGURE  # its camera is not there
        run = RunControl(RunState.ENABLED, workers.ask, lambda: NAMES)
        for name in NAMES:
            run.start_state(name, configured=True)
            if name != "c":
                workers.states[name] = RunState.ENABLED
        await run.settle("c")
        assert run.comes_by_itself("c", RunState.UNCONFIGURED)
        await run.transition(Service.DISABLE)
        await run.transition(Service.ENABLE)
        assert workers.states == {"a": RunState.ENABLED, "b": RunState.ENABLED, "c": RunState.UNCONFIGURED}
        await run.acquire(0)
        assert workers.states["a"] is RunState.CONFIGURED
        assert not run.comes_by_itself("c", RunState.UNCONFIGURED)
        with pytest.raises(CommandError, match="not now"):
            await run.settle("c")

    asyncio.run(story())


def test_who_moved_meanwhile_is_led_from_where_it_is_then() -> None:
    async def story(steps: int) -> tuple[RunState, list[str]]:
        workers = Workers()
        asked: list[str] = []

        async def ask(worker: str, command: str, **args: Any) -> Any:
            asked.append(args.get("service", command))
            if args and asked.count("status") <= steps:  # timing takes it a step further just then
                state = workers.states[worker]
                workers.states[worker] = RunState(min(state + 1, RunState.ENABLED))
                raise CommandError(f"refused: the run is {workers.states[worker].label}")
            return await workers.ask(worker, command, **args)

        run = RunControl(RunState.ENABLED, ask, lambda: NAMES)
        await run.settle("a")
        return workers.states["a"], asked

    once = ["status", "Configure", "status", "BeginRun", "Enable"]
    assert asyncio.run(story(1)) == (RunState.ENABLED, once)
    assert asyncio.run(story(2))[0] is RunState.ENABLED


def test_progress_names_who_is_waited_for() -> None:
    async def story() -> list[str]:
        workers, go = Workers(), asyncio.Event()
        patience: list[float] = []

        async def ask(worker: str, command: str, timeout_s: float = 1.0, **args: Any) -> Any:
            if args:
                patience.append(timeout_s)
                if worker == "b":
                    await go.wait()
            return await workers.ask(worker, command, **args)

        run = RunControl(RunState.UNCONFIGURED, ask, lambda: NAMES, patience_s=lambda w: 100.0 + ord(w))
        transition = asyncio.create_task(run.transition(Service.CONFIGURE))
        while run.progress != "Configure: waiting for b":  # noqa: ASYNC110  nothing tells when all have been asked
            await asyncio.sleep(0)
        go.set()
        await transition
        assert sorted(patience) == [197.0, 198.0, 199.0]
        return [run.progress, run.state.label]

    assert asyncio.run(asyncio.wait_for(story(), 10)) == ["", "Configured"]


def test_who_has_arrived_does_not_come_by_itself_again() -> None:
    run = RunControl(RunState.ENABLED, Workers().ask, lambda: NAMES)
    assert run.start_state("a", configured=True) is RunState.ENABLED
    run.seen("a", RunState.RUNNING, 1)
    assert run.comes_by_itself("a", RunState.RUNNING)
    run.seen("a", RunState.ENABLED, 2)
    assert not run.comes_by_itself("a", RunState.RUNNING)


def test_what_has_been_reached_is_what_all_that_respond_have_reached() -> None:
    async def story() -> None:
        workers = Workers()
        run = RunControl(RunState.ENABLED, workers.ask, lambda: sorted(workers.here))
        assert run.reached is RunState.UNCONFIGURED
        for name in NAMES:
            run.seen(name, RunState.ENABLED, 1)
        assert (run.reached, run.behind) == (RunState.ENABLED, "")
        run.seen("b", RunState.UNCONFIGURED, 2)  # its camera does not come
        assert (run.state, run.reached) == (RunState.ENABLED, RunState.UNCONFIGURED)
        assert run.acquiring  # it has not been stopped
        assert run.behind == "b is Unconfigured, the run is to be Enabled"
        workers.here.discard("b")
        assert (run.reached, run.behind) == (RunState.ENABLED, "")
        run.state = RunState.CONFIGURED
        run.seen("c", RunState.CONFIGURED, 2)
        assert run.reached is RunState.ENABLED  # a still takes data

    asyncio.run(story())


def test_a_snapshot_from_before_a_transition_does_not_bring_the_state_back() -> None:
    async def story() -> None:
        workers = Workers()
        run = RunControl(RunState.UNCONFIGURED, workers.ask, lambda: NAMES)
        before_ns = time.time_ns()
        await run.transition(Service.CONFIGURE)
        assert run.reached is RunState.CONFIGURED
        run.seen("a", RunState.UNCONFIGURED, before_ns)
        assert run.reached is RunState.CONFIGURED
        run.seen("a", RunState.UNCONFIGURED, time.time_ns())
        assert run.reached is RunState.UNCONFIGURED

    asyncio.run(story())


def test_a_worker_whose_outputs_were_changed_starts_configured_at_most() -> None:
    run = RunControl(RunState.ENABLED, Workers().ask, lambda: NAMES)
    assert run.start_state("a", configured=False) is RunState.CONFIGURED
    run.state = RunState.UNCONFIGURED
    assert run.start_state("a", configured=False) is RunState.UNCONFIGURED


def test_a_worker_whose_snapshot_has_the_state_of_the_run_is_not_asked() -> None:
    workers = Workers()
    asked: list[str] = []

    async def ask(worker: str, command: str, **args: Any) -> Any:
        asked.append(worker)
        return await workers.ask(worker, command, **args)

    run = RunControl(RunState.UNCONFIGURED, ask, lambda: NAMES)
    run.seen("a", RunState.UNCONFIGURED, 1)
    run.seen("b", RunState.CONFIGURED, 1)
    asyncio.run(run.settle("a"))
    assert asked == []
    asyncio.run(run.settle("b"))
    assert asked == ["b"]


def test_a_worker_that_comes_while_a_transition_goes_on_without_it_is_led_afterwards() -> None:
    workers = Workers()
    workers.here = {"a"}

    async def both() -> None:
        run = RunControl(RunState.UNCONFIGURED, workers.ask, lambda: sorted(workers.here))
        run.seen("c", RunState.UNCONFIGURED, 1)
        transition = asyncio.create_task(run.transition(Service.CONFIGURE))
        await asyncio.sleep(0)
        await run.settle("c")
        await transition

    asyncio.run(both())
    assert workers.states["c"] is RunState.CONFIGURED
