"""The state machine alone, driven through everything in every order, against a world that notes what it does."""

import logging
from concurrent.futures import Future
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from detectors.assembly.datagram import DatagramLayout
from detectors.assembly.match import Discarded, Settled
from detectors.balance import balance
from detectors.config import parse_config
from detectors.errors import ConfigError, HostError, PebbleDaqError
from detectors.run_state import RunState, Service
from detectors.sources.image_sink import Description
from detectors.stats import MonitorStatus
from detectors.wire.timing import TimingEvent
from detectors.workers.monitor.machine import MonitorMachine, drive
from detectors.workers.monitor.messages import (
    Action,
    Answer,
    Begin,
    Build,
    Count,
    Free,
    Gate,
    Input,
    PvChanged,
    PvState,
    Restage,
    Resume,
    RunCommand,
    Staged,
    Timed,
)
from detectors.workers.monitor.pvs import Pvs
from detectors.workers.monitor.tally import Tally

MS: Final = 1_000_000
SMALL = Description(64, (4, 8), "uint16", "")
OTHER = Description(30, (30,), "uint8", "")
LARGE = Description(20_000, (20_000,), "uint8", "")  # more than a slot given by hand holds
TOO_LARGE = Description(2_000_000, (1000, 1000), "uint16", "")  # more than the DMA ring holds
ARRAYS = st.sampled_from([SMALL, SMALL, OTHER, LARGE, TOO_LARGE])
SERVICES = st.sampled_from([s for s in Service if s is not Service.L1_ACCEPT])
RUN_UP = (Service.CONFIGURE, Service.BEGIN_RUN, Service.ENABLE)
RUN_DOWN = (Service.DISABLE, Service.END_RUN, Service.UNCONFIGURE)


class World(RuleBasedStateMachine):
    """Sources, timing system, commands and memory around a machine: whatever it does must be possible and right."""

    @initialize(
        timing=st.booleans(),
        aim=st.sampled_from([RunState.UNCONFIGURED, RunState.ENABLED, RunState.ENABLED]),
        change=st.sampled_from(["replan", "replan", "pause"]),
        by_hand=st.booleans(),
        known=st.booleans(),
        up=st.booleans(),
    )
    def set_up(self, *, timing: bool, aim: RunState, change: str, by_hand: bool, known: bool, up: bool) -> None:
        config = parse_config(
            f"""
            [detector]
            name = "DET"
            prefix = "T:MACHINE:"
            {"[timing]" if timing else ""}
            {"port = 4000" if timing else ""}
            [dma]
            cfgRxCount = 3
            cfgSize = "64 KiB"
            {"[pools]" if by_hand else ""}
            {'pebbleBufSize = "12 KiB"' if by_hand else ""}
            [[pva]]
            name = "CAM"
            pv = ["A=SIM:A", "B=SIM:B"]
            match_tmo_ms = 5
            connect_timeout_s = 0.01
            on_payload_change = "{change}"
            """
        )
        self.timing = timing
        self.now = 1_000 * MS
        self.tally = Tally()
        self.inbox: list[Input] = []
        self.late: list[tuple[str, Any]] = []
        self.states = [PvState(), PvState()]
        self.waiting: set[int] = set()
        self.pools: DatagramLayout | None = None
        self.planned: list[Description] = []
        self.record_bytes = 0
        self.accepting = False
        self.refuse_memory = self.full = False
        self.tokens: set[int] = set()
        """Updates that are in the machine or on their way to it."""
        self.sent_l1 = 0
        self.placed: set[int] = set()
        self.numbers = self.stamp = 0
        self.begun: set[int] = set()
        self.commands: list[RunCommand] = []
        pvs = Pvs(["A", "B"], [SMALL if known else None] * 2, 0.01)
        self.machine = MonitorMachine(config, config.pva[0], pvs, aim=aim, now_ns=self.now)
        self.seen = self.machine.state
        if up:
            self.connect(0, SMALL)
            self.connect(1, SMALL)
            self.ask(RUN_UP)
            self.step(0)

    # --- what happens

    @rule(pv=st.integers(0, 1), array=ARRAYS)
    def connect(self, pv: int, array: Description) -> None:
        if pv not in self.waiting:
            self.change(pv, PvState(up=True, description=array))

    @rule(pv=st.integers(0, 1))
    def connect_against_the_configuration(self, pv: int) -> None:
        if pv not in self.waiting:
            self.change(pv, PvState(up=True, refusal=ConfigError("expected another")))

    @rule(pv=st.integers(0, 1))
    def lose(self, pv: int) -> None:
        if pv not in self.waiting:
            state = self.states[pv]
            self.states[pv] = PvState(up=False, description=state.description, refusal=state.refusal, message="gone")
            self.inbox.append(PvChanged(pv, self.states[pv]))

    def change(self, pv: int, state: PvState) -> None:
        self.states[pv] = state
        waits = self.pools is not None and not state.refusal and not state.fits(self.planned[pv])
        if waits:
            self.waiting.add(pv)
        self.inbox.append(PvChanged(pv, state, waits))

    def send(self, pv: int, stamp: int) -> None:
        """Let a source send an image; it is staged where the gate is open and there are slots for it."""
        if pv in self.waiting or not self.states[pv].up:
            return
        if not (self.accepting and self.states[pv].fits(self.planned[pv])):
            self.tally.add(updates=1, discarded_disabled=1)
            return
        self.numbers += 1
        self.tokens.add(self.numbers)
        self.tally.add(updates=1, held=1)
        buffer: Any = self.numbers
        self.inbox.append(Staged(pv, buffer, 64, stamp, stamp, self.now, {}))

    @rule(late=st.sampled_from([0, 0, 0, 1]), sends=st.sampled_from([(0, 1), (0, 1), (1, 0), (0,), (1,), ()]))
    def shot(self, late: int, sends: tuple[int, ...]) -> None:
        """An event, and the images of it, in any order; some with another stamp."""
        self.stamp += 1
        if self.timing and self.machine.room:
            self.sent_l1 += 1
            self.inbox.append(Timed(TimingEvent(Service.L1_ACCEPT, self.stamp, self.stamp, 0), self.now))
        for pv in sends:
            self.send(pv, self.stamp - late)

    @rule(services=st.one_of(st.sampled_from([RUN_UP, RUN_DOWN]), st.tuples(SERVICES)), by_event=st.booleans())
    def ask(self, services: tuple[Service, ...], *, by_event: bool = False) -> None:
        for service in services:
            if by_event and self.timing:
                self.inbox.append(Timed(TimingEvent(service, 0, 0, 0), self.now))
            else:
                self.commands.append(RunCommand(service, Future()))
                self.inbox.append(self.commands[-1])

    @rule(number=st.integers(0, 5))
    def cancel(self, number: int) -> None:
        if number < len(self.commands):
            self.commands[-1 - number].answer.cancel()

    @rule(refuse=st.booleans(), full=st.booleans())
    def be_short_of_memory(self, refuse: bool, full: bool) -> None:
        self.refuse_memory, self.full = refuse, full

    @rule(kind=st.sampled_from(["send", "ask"]), what=st.integers(0, 1), n=st.integers(0, 12))
    def happen_while_it_is_at_work(self, kind: str, what: int, n: int) -> None:
        """Let something come in while the gate closes or buffers are made, in the middle of a step."""
        self.late.append((kind, (what, n)))

    @rule(ms=st.sampled_from([0, 0, 1, 5, 10, 1000]))
    def step(self, ms: int) -> None:
        self.now += ms * MS
        inputs, self.inbox = self.inbox, []
        drive(self.machine.step(inputs, self.now), self.do)
        fits = self.pools is not None and all(s.fits(p) for s, p in zip(self.states, self.planned, strict=True))
        if not self.inbox:  # else it does not know yet what came in last
            assert not self.waiting
            assert self.accepting == (self.machine.state is RunState.ENABLED and fits and not self.machine.fault)
        due_ns = self.machine.due_ns(self.now)
        assert due_ns is None or due_ns > self.now
        assert due_ns is not None or self.inbox or not (self.tally["l1_pending"] or self.tokens)

    # --- what the machine does

    def do(self, action: Action) -> Any:
        assert abs(self.machine.state - self.seen) <= 1
        self.seen = self.machine.state
        match action:
            case Count(counts):
                self.tally.add(**counts)
                assert self.balanced
            case Settled():
                self.place(action)
            case Discarded(pv, update, fate):
                assert update.pv == pv
                self.out(update)
                self.tally.add(held=-1, **{fate.value: 1})
            case Begin(command):
                assert id(command) not in self.begun
                self.begun.add(id(command))
                return command.answer.set_running_or_notify_cancel()
            case Answer(command, result):
                assert id(command) in self.begun
                failed = isinstance(result, PebbleDaqError)
                command.answer.set_exception(result) if failed else command.answer.set_result(result)  # twice: raises
            case Gate(opening):
                return self.set_gate(opening)
            case Build(plan, layout, arrays):
                self.come_in_late()
                assert self.pools is None
                assert not self.accepting
                if self.refuse_memory:
                    return HostError("too little memory")
                assert plan.payload_bytes == layout.payload_bytes
                self.pools, self.planned, self.record_bytes = layout, list(arrays), layout.payload_bytes
            case Restage(layout, arrays):
                assert self.pools is not None
                assert layout.payload_bytes > self.record_bytes
                assert not self.accepting
                self.pools, self.planned = layout, list(arrays)
            case Free():
                assert self.pools is not None
                assert not self.accepting
                assert not self.tokens  # else their slots would go on living
                self.pools = None
            case Resume(pv):
                self.waiting.remove(pv)
        return None

    def set_gate(self, opening: bool) -> list[Input]:
        assert opening != self.accepting
        if not opening:
            self.come_in_late()
            self.accepting = False
            inputs, self.inbox = self.inbox, []
            return inputs
        assert self.machine.state is RunState.ENABLED
        assert self.pools is not None
        self.accepting = True
        return []

    def come_in_late(self) -> None:
        late, self.late = self.late, []
        for kind, (what, n) in late:
            self.send(what, n) if kind == "send" else self.ask(((*RUN_UP, *RUN_DOWN, Service.SLOW_UPDATE)[n % 7],))

    def place(self, settled: Settled[Staged]) -> None:
        assert self.pools is not None
        updates = [token for token in settled.tokens if token is not None]
        assert updates
        for pv, token in enumerate(settled.tokens):
            if token is not None:
                assert (token.pv, token.timestamp_ns) == (pv, settled.event.timestamp_ns)
                self.out(token)
        count = len(updates)
        if self.full:
            self.tally.add(held=-count, exhausted=count, l1_pending=-1, l1_exhausted=1)
        else:
            self.tally.add(held=-count, match=count, l1_pending=-1, placed=1)
        assert settled.event.pulse_id not in self.placed
        self.placed.add(settled.event.pulse_id)

    def out(self, update: Staged) -> None:
        self.tokens.remove(update.buffer)  # type: ignore[arg-type]  # KeyError: it came out twice

    # --- what holds at every moment

    @property
    def balanced(self) -> bool:
        lines = balance(MonitorStatus(updates=self.tally.freeze()))
        return lines["updates"] == lines["l1_accepts"] == 0

    @invariant()
    def the_balance_holds(self) -> None:
        assert self.balanced
        assert self.tally["held"] == len(self.tokens)

    @invariant()
    def there_are_pools_only_while_configured(self) -> None:
        assert self.pools is None or self.machine.state is not RunState.UNCONFIGURED
        assert self.machine.memory.layout == self.pools
        assert self.machine.is_open == self.accepting

    def teardown(self) -> None:
        if not hasattr(self, "machine"):
            return
        inputs, self.inbox = self.inbox, []
        drive(self.machine.finish(inputs), self.do)
        assert not self.inbox
        assert self.pools is None
        assert not self.tokens
        assert all(command.answer.done() for command in self.commands)
        assert (self.tally["held"], self.tally["l1_pending"]) == (0, 0)
        assert not self.timing or self.tally["l1_accepts"] == self.sent_l1
        assert self.balanced


@pytest.mark.parametrize("examples", [60, pytest.param(250, marks=pytest.mark.long)])
def test_machine(examples: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    run_state_machine_as_test(
        World,
        settings=settings(
            max_examples=examples, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
