"""The receiver of one UDP module: socket to pebble to outputs, on one thread that waits for nothing but packets."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from typing import Any, Final

from detectors.assembly.counted_pulses import NextBase, PulseStart
from detectors.assembly.frames import ACCOUNT, FrameAssembler
from detectors.assembly.open_frame import Finished
from detectors.assembly.rules import AssemblyRules
from detectors.config import Config, UdpSection
from detectors.outputs.notifier import Notifier
from detectors.outputs.outputs import ACCOUNTS, Outputs
from detectors.outputs.stage import StageAccount
from detectors.pools.host_memory import Machine, check_memory
from detectors.pools.pebble import Pebble
from detectors.pools.sizing import BufferPlan, plan_buffers
from detectors.run_state import RunState, next_state, service_by_label
from detectors.sources.pace import Pace
from detectors.sources.udp import UdpSource
from detectors.stats import PacketStats, ReceiverStatus
from detectors.worker_names import worker_name
from detectors.workers.account import Account
from detectors.workers.pebble_slots import PebbleSlots
from detectors.workers.preflight import Level, run_checks
from detectors.workers.pulse_base import shared_start
from detectors.workers.rates import RateMeter
from detectors.workers.runtime import IDLE_S, QUIET_S, run_worker
from detectors.workers.tuning import become_receiver, use_processors
from detectors.workers.wake import Wake

log = logging.getLogger(__name__)

_TIMEOUTS_S: Final = 0.02
"""Longest wait for a packet while frames may be open: their time-outs are looked at this often, s."""

_ALL_CLOSED_S: Final = 1.0
"""A line without packets for this long has no frame open, unless the time-outs are longer, s."""

_STALLED_S: Final = 1.0
"""Silence after which a module that sent before is stalled, s."""

_STALLED_PERIODS: Final = 5
"""The same in frame periods, for a module slower than that."""

_PEBBLE_PER_AHEAD: Final = 4
"""Of so many slots of the pebble at most one is claimed for a frame that is still to come."""

_LONG_TICK_S: Final = 5e-3
"""A sleep between two looks for packets that is not shorter ends when a command comes, s."""

_DRAIN_SOCKET_S: Final = 0.3
"""How long packets still in the socket buffer are taken at the end, s: a sender that goes on must not hold us."""


def run(config: Config, source: UdpSection, state: RunState) -> int:
    """Receive one module until it is to stop; ``state`` is the run state to begin in. Returns the exit code.

    Raises HostError when the port, the memory, the folder or an address is refused, SizingError for sizes against the
    rules.
    """
    use_processors(source.tuning)
    return run_worker(Receiver(config, source, state), config)


class Receiver:
    """The part of a worker that receives one module."""

    empty = ReceiverStatus()

    def __init__(self, config: Config, module: UdpSection, state: RunState) -> None:
        self.name = worker_name(module)
        self._config, self._module = config, module
        self._aim = state
        self._state = RunState.UNCONFIGURED
        self._rates = RateMeter()
        self._heard = 0.0

    @property
    def commands(self) -> Mapping[str, Callable[..., Any]]:
        """Run transitions, and what concerns the outputs."""
        return {"transition": self._transition, "output": self._set_output, "folder": self._set_folder}

    @property
    def blocks(self) -> Mapping[str, Sequence[str]]:
        """The fates of packets and frames, and what the outputs settled."""
        return {"data": (*ACCOUNT, "last.heard_ns", "last.enabled"), **ACCOUNTS}

    def open(self, stack: ExitStack, wake: Wake, account: Account) -> str:
        """Take port, memory and outputs. Raises HostError or SizingError."""
        config, module, runtime = self._config, self._module, self._config.runtime_names
        become_receiver(module.tuning)
        for finding in run_checks(config, cheap=True, only=module):
            if finding.level is not Level.OK:
                log.warning("%s: %s; %s", finding.check, finding.found, finding.remedy)
        plan = plan_buffers(config, module)
        check_memory([plan], Machine.read([runtime.shm(self.name)]))
        self._source = UdpSource(
            module.geometry,
            module.address,
            module.port,
            ring_count=plan.dma.count,
            ring_size=plan.dma.size_bytes,
            source=module.source,
            pulse_from=module.pulse_source,
        )
        stack.callback(self._source.close)
        self._pebble = self._make_pebble(plan)
        stack.callback(self._pebble.close)
        self._notifier = Notifier(runtime.notify(self.name))
        stack.callback(self._notifier.close)
        self._outputs = Outputs.build(
            config,
            module,
            shape=plan.record_shape,
            dtype=module.geometry.dtype,
            frame_shape=module.geometry.shape,
            slots=plan.pebble.count,
            accounts={output: StageAccount(account[output]) for output in ACCOUNTS},
        )
        stack.callback(self._outputs.close)
        self._page = account["data"]
        self._assembler = self._make_assembler(plan, *shared_start(config, module, stack))
        self._pace = Pace(
            packet_bytes=self._source.block.packet_bytes,
            packets_per_frame=module.geometry.packets_per_frame,
            buffer_packets=self._source.buffer_packets,
            longest_s=module.max_latency_s,
        )
        if self._source.ring.shortfall():
            log.warning(self._source.ring.shortfall())
        self._heard_ns = int(account.last.get("last.heard_ns", 0))
        self._go_to(self._aim)
        self._resume(account.last)
        wake.watch(self._source.fileno())
        self._wake = wake
        return f"{module.address}:{module.port}"

    def step(self) -> float:
        """Take the packets that are there; sleep until the next look is worth while, or return how long to wait."""
        source, assembler = self._source, self._assembler
        looked = time.monotonic()
        n = source.poll(assembler.landing())
        now = time.monotonic() if n else looked  # silent until then: packets may have come since
        if n:
            if now - self._heard > IDLE_S:
                self._notifier.look()  # who subscribed while nothing came
            self._heard = now
            self._feed(n, now)
        self._hand_over(assembler.tick(now))
        self._pace.add(n, now)
        if n:
            if n < source.batch and self._pace.tick_s:
                self._rest(self._pace.tick_s)
            return 0.0
        return _TIMEOUTS_S if now - self._heard < max(_ALL_CLOSED_S, 2 * self._module.flush_timeout_s) else QUIET_S

    def snapshot(self) -> ReceiverStatus:
        """Return all counters, of this moment."""
        now, assembler = time.monotonic(), self._assembler
        self._enter()
        self._notifier.look()
        dma = self._source.ring.stats()
        outputs = self._outputs.stats()
        packets, frames = assembler.packets(dma.overruns), assembler.frames()
        pixels = (packets.placed + packets.bad_pulse) * self._module.geometry.packet_data_bytes
        return ReceiverStatus(
            state=self._activity(now, packets),
            message=self._source.ring.shortfall() or assembler.latest_note,
            run_state=self._state.label,
            pulse_id=assembler.latest.pulse_id,
            data_ns=assembler.latest.timestamp_ns,
            frame_index=assembler.latest.frame_index,
            packets=packets,
            frames=frames,
            rates=self._rates.add(now, frames.complete + frames.incomplete, packets.received, pixels),
            dma=dma,
            pebble=self._pebble.stats(),
            disk=outputs["disk"],
            zmq=outputs["zmq"],
            senders=self._source.senders,
        )

    def finish(self, deadline_s: float) -> None:
        """Take the packets that have come, close their frames and let the outputs finish."""
        source, assembler = self._source, self._assembler
        until = min(deadline_s, time.monotonic() + _DRAIN_SOCKET_S)
        while (now := time.monotonic()) < until and (n := source.poll()):
            self._feed(n, now)
        self._hand_over(assembler.close_gate())
        self._hand_over(assembler.flush())
        self._outputs.close(max(0.0, deadline_s - time.monotonic()))

    def _rest(self, tick_s: float) -> None:
        """Sleep, but no command waits for long."""
        if tick_s < _LONG_TICK_S:
            time.sleep(tick_s)
        else:
            self._wake.rest(tick_s)

    def _feed(self, n: int, now: float) -> None:
        """Put the packets of the block in their frames, and hand over those that are finished."""
        assembler, block = self._assembler, self._source.block
        self._heard_ns = block.received_ns
        entered = False
        for finished in assembler.feed(block, n, now):
            self._hand_over(finished)
            entered = not assembler.in_hand
        if not entered:
            assembler.in_hand = 0
            self._enter()

    def _hand_over(self, finished: Sequence[Finished]) -> None:
        """Publish finished frames in the pebble and offer them to the outputs; counted first, so that none writes more."""
        if finished:
            self._enter()
            self._slots.publish(finished)

    def _enter(self) -> None:
        """Bring the counters page up to date."""
        self._page.put(*self._assembler.account(), self._heard_ns, self._state is RunState.ENABLED)

    def _resume(self, last: Mapping[str, float]) -> None:
        """Go on with the stream of the life before, if that ended in a run, so that what was sent meanwhile is counted."""
        framenum = int(last.get("last.framenum", 0))
        if self._state is RunState.ENABLED and last.get("last.enabled") and framenum:
            silent_s = (time.time_ns() - self._heard_ns) / 1e9
            self._assembler.resume(framenum, int(last["last.pulse"]), silent_s, time.monotonic())

    def _make_pebble(self, plan: BufferPlan) -> Pebble:
        config, module = self._config, self._module
        return Pebble(
            self._config.runtime_names.shm(self.name),
            plan.record_shape,
            count=plan.pebble.count,
            slot_bytes=plan.pebble.size_bytes,
            pulse_id_step=config.detector.pulse_id_step,
            checked=config.pools_of(module).checked,
            info={
                "detector": config.detector_of(module),
                "module": module.name,
                "module_id": config.index_of(module),
                "dtype": module.geometry.dtype,
                "shape": list(module.geometry.shape),
                "packets_per_frame": module.geometry.packets_per_frame,
            },
        )

    def _make_assembler(self, plan: BufferPlan, start: PulseStart, next_base: NextBase) -> FrameAssembler:
        config, module = self._config, self._module
        self._slots = PebbleSlots(
            self._pebble,
            wait_s=config.pools_of(module).exhausted_wait_s,
            outputs=self._outputs,
            notify=self._notifier.send,
        )
        rules = AssemblyRules(
            module_id=config.index_of(module),
            reorder_window=module.reorder_window,
            flush_timeout_s=module.flush_timeout_s,
            max_frame_gap=module.max_frame_gap,
            max_pulse_jump=module.max_pulse_jump,
            pulse_id_step=config.detector.pulse_id_step,
            expect_module_id=module.expect_module_id,
            row=module.row,
            column=module.column,
            pulse_from=module.pulse_source,
            pulse_period_ns=module.pulse_period_ns,
        )
        ahead = plan.pebble.count // _PEBBLE_PER_AHEAD
        return FrameAssembler(
            module.geometry,
            rules,
            self._slots,
            batch=self._source.batch,
            ahead=ahead,
            start=start,
            next_base=next_base,
        )

    def _transition(self, service: str) -> str:
        """Carry out a run transition by its label, ``Enable``; return the state that it led to.

        Raises TransitionRefusedError when it is not legal now, CommandError when it is unknown.
        """
        self._go_to(next_state(self._state, service_by_label(service)))
        return self._state.label

    def _set_output(self, output: str, enabled: bool) -> None:  # noqa: FBT001
        """Switch an output. Raises CommandError for one that is not there."""
        self._outputs.set_enabled(output, enabled)

    def _set_folder(self, folder: str) -> "Future[str]":
        """Write to another folder from the next frame on."""
        return self._outputs.set_folder(folder)

    def _go_to(self, state: RunState) -> None:
        """Open or close the gate as a run state wants it."""
        if (state is RunState.ENABLED) != (self._state is RunState.ENABLED):
            if state is RunState.ENABLED:
                self._hand_over(self._assembler.open_gate())
            else:
                self._hand_over(self._assembler.close_gate())
        self._state = state

    def _activity(self, now: float, packets: PacketStats) -> str:
        assembler = self._assembler
        if self._state is not RunState.ENABLED or not assembler.heard_in_run or not packets.received:
            return "Idle"
        quiet = now - assembler.heard_at
        return "Stalled" if quiet > max(_STALLED_S, _STALLED_PERIODS * assembler.period_s) else "Receiving"
