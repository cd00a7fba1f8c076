"""The receiver of one UDP module: socket to pebble to outputs, on one thread that never waits for anybody else.

The main thread receives and assembles; ``Control`` answers commands on a thread of its own, and each output runs on its
own. Commands that concern the run are handed to the main thread, which carries them out between two batches.
"""

import logging
import queue
import threading
import time
from concurrent.futures import Future
from contextlib import ExitStack
from typing import Final

from detectors.assembly.frames import AssemblyRules, FrameAssembler
from detectors.config import Config, UdpSection
from detectors.errors import CommandError
from detectors.outputs.notifier import Notifier
from detectors.outputs.outputs import Outputs, worker_name
from detectors.pools.host_memory import Machine, check_memory
from detectors.pools.pebble import Pebble
from detectors.pools.sizing import plan_buffers
from detectors.run_state import RunState, Service, next_state
from detectors.runtime import Runtime
from detectors.sources.pace import Pace
from detectors.sources.udp import UdpSource
from detectors.stats import ReceiverStatus
from detectors.workers.control import SNAPSHOT_PERIOD_S, Control
from detectors.workers.pebble_slots import PebbleSlots
from detectors.workers.preflight import Level, run_checks
from detectors.workers.receiver_status import ReceiverParts, StatusTaker
from detectors.workers.tuning import QuietCollector, become_receiver, use_processors

log = logging.getLogger(__name__)

_WAIT_S: Final = 0.02
"""Longest wait for a packet on a silent line: time-outs, commands and the stop flag are looked at this often, s."""

_PEBBLE_PER_AHEAD: Final = 4
"""Of so many slots of the pebble at most one is claimed for a frame that is still to come."""

_SNAPSHOT_PERIOD_RECEIVING_S: Final = 0.2
_COMMAND_TIMEOUT_S: Final = 2.0
_DRAIN_SOCKET_S: Final = 0.3
"""How long packets still in the socket buffer are taken at the end, s: a sender that goes on must not hold us."""

_DRAIN_OUTPUTS_S: Final = 1.0


def run(config: Config, source: UdpSection, state: RunState) -> int:
    """Receive one module until told to stop; ``state`` is the run state to begin in. Returns the exit code.

    Raises HostError when the port, the memory, the folder or an address is refused, SizingError for sizes against the
    rules.
    """
    runtime = Runtime(config.detector.prefix)
    worker = worker_name(source)
    use_processors(source.tuning)
    become_receiver(source.tuning)
    for finding in run_checks(config, cheap=True, only=source):
        if finding.level is not Level.OK:
            log.warning("%s: %s; %s", finding.check, finding.found, finding.remedy)
    receiver = Receiver(worker)
    handlers = {
        "transition": receiver.transition,
        "output": receiver.set_output,
        "folder": receiver.set_folder,
    }
    with Control(runtime, worker, receiver.snapshot, handlers) as control, ExitStack() as stack:
        receiver.open(config, source, runtime, stack, state)
        print(f"READY {worker} {source.address}:{source.port}", flush=True)  # noqa: T201  supervisors wait for this line
        receiver.receive(control.stop)
    return 0


class Receiver:
    """One module's data path. ``open`` and ``receive`` are for the main thread, the rest for any."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._state = RunState.UNCONFIGURED
        self._status = ReceiverStatus(worker=worker)
        self._requests: queue.SimpleQueue[tuple[Service, Future[str]]] = queue.SimpleQueue()
        self._outputs: Outputs | None = None

    def open(self, config: Config, module: UdpSection, runtime: Runtime, stack: ExitStack, state: RunState) -> None:
        """Take port, memory and outputs; ``stack`` gives them back. Raises HostError or SizingError."""
        geometry = module.geometry
        plan = plan_buffers(config, module)
        check_memory([plan], Machine.read([runtime.shm(self._worker)]))
        source = UdpSource(
            geometry,
            module.address,
            module.port,
            ring_count=plan.dma.count,
            ring_size=plan.dma.size_bytes,
            source=module.source,
        )
        stack.callback(source.close)
        pebble = Pebble(
            runtime.shm(self._worker),
            plan.record_shape,
            count=plan.pebble.count,
            slot_bytes=plan.pebble.size_bytes,
            pulse_id_step=config.detector.pulse_id_step,
            checked=config.pools_of(module).checked,
            info={
                "detector": config.detector_of(module),
                "module": module.name,
                "module_id": module.module_id,
                "dtype": geometry.dtype,
                "shape": list(geometry.shape),
                "packets_per_frame": geometry.packets_per_frame,
            },
        )
        stack.callback(pebble.close)
        self._notifier = Notifier(runtime.notify(self._worker))
        stack.callback(self._notifier.close)
        outputs = Outputs.build(
            config,
            module,
            runtime,
            shape=plan.record_shape,
            dtype=geometry.dtype,
            frame_shape=geometry.shape,
            slots=plan.pebble.count,
        )
        stack.callback(outputs.close)
        slots = PebbleSlots(
            pebble,
            wait_s=config.pools_of(module).exhausted_wait_s,
            outputs=outputs,
            notify=self._notifier.send,
        )
        rules = AssemblyRules(
            module_id=module.module_id,
            reorder_window=module.reorder_window,
            flush_timeout_s=module.flush_timeout_s,
            max_frame_gap=module.max_frame_gap,
            max_pulse_jump=module.max_pulse_jump,
            pulse_id_step=config.detector.pulse_id_step,
        )
        self._source = source
        self._slots = slots
        self._assembler = FrameAssembler(
            geometry, rules, slots, batch=source.batch, ahead=plan.pebble.count // _PEBBLE_PER_AHEAD
        )
        self._pace = Pace(
            packet_bytes=source.block.packet_bytes,
            packets_per_frame=geometry.packets_per_frame,
            buffer_packets=source.buffer_packets,
            longest_s=module.max_latency_s,
        )
        self._taker = StatusTaker(
            ReceiverParts(self._worker, source, self._assembler, pebble, outputs, geometry.packet_data_bytes)
        )
        self._outputs = outputs
        self._collector = QuietCollector()
        stack.callback(self._collector.close)
        if source.ring.shortfall():
            log.warning(source.ring.shortfall())
        self._go_to(state)
        self._status = self._taker.take(time.monotonic(), self._state)

    def receive(self, stop: threading.Event) -> None:
        """Receive until ``stop`` is set, then take what has come already and settle it. Raises HostError."""
        try:
            self._receive(stop)
        except BaseException:
            self._status = self._taker.take(time.monotonic(), self._state, final="Failed")
            raise

    def _receive(self, stop: threading.Event) -> None:
        source, assembler, pace = self._source, self._assembler, self._pace
        poll, feed, tick, landing = source.poll, assembler.feed, assembler.tick, assembler.landing
        publish = self._slots.publish
        block, batch = source.block, source.batch
        requests, monotonic, sleep = self._requests, time.monotonic, time.sleep
        snapshot_at = 0.0
        while not stop.is_set():
            n = poll(landing())
            now = monotonic()
            if n:
                publish(feed(block, n, now))
            publish(tick(now))
            pace.add(n, now)
            if not requests.empty():
                self._answer_requests()
            if now >= snapshot_at:
                snapshot_at = now + self._look_around(now)
            if n == batch:
                continue
            if not n:
                source.wait(_WAIT_S)
            elif pace.tick_s:
                sleep(pace.tick_s)
        self._settle()

    def snapshot(self) -> ReceiverStatus:
        """Return the last snapshot that the main thread took."""
        return self._status

    def transition(self, service: str) -> str:
        """Carry out a run transition by its label, ``Enable``; return the state that it led to.

        Raises TransitionRefusedError when it is not legal now, CommandError when it is unknown.
        """
        known = {s.label: s for s in Service}
        if service not in known:
            raise CommandError(f"transition: found {service!r}, expected one of {', '.join(known)}")
        answer: Future[str] = Future()
        self._requests.put((known[service], answer))
        try:
            return answer.result(_COMMAND_TIMEOUT_S)
        except TimeoutError:
            raise CommandError(f"{service}: the receiver did not answer within {_COMMAND_TIMEOUT_S:g} s") from None

    def set_output(self, output: str, enabled: bool) -> None:  # noqa: FBT001
        """Switch an output. Raises CommandError for one that is not there."""
        self._built().set_enabled(output, enabled)

    def set_folder(self, folder: str) -> None:
        """Write to another folder from the next frame on. Raises CommandError or HostError."""
        self._built().set_folder(folder)

    def _built(self) -> Outputs:
        if self._outputs is None:
            raise CommandError(f"{self._worker}: still starting; ask again")
        return self._outputs

    def _go_to(self, state: RunState) -> None:
        """Open or close the gate as a run state wants it."""
        if (state is RunState.ENABLED) != (self._state is RunState.ENABLED):
            if state is RunState.ENABLED:
                self._slots.publish(self._assembler.open_gate())
            else:
                self._slots.publish(self._assembler.close_gate())
        self._state = state

    def _answer_requests(self) -> None:
        while not self._requests.empty():
            service, answer = self._requests.get()
            try:
                self._go_to(next_state(self._state, service))
            except Exception as error:  # noqa: BLE001  the asker gets it, whatever it is
                answer.set_exception(error)
            else:
                self._status = self._taker.take(time.monotonic(), self._state)
                answer.set_result(self._state.label)

    def _look_around(self, now: float) -> float:
        """Do what is done a few times a second: snapshot, listeners, and garbage when nothing is coming.

        Return the time to the next one, s: while data comes each takes time from it.
        """
        self._status = self._taker.take(now, self._state)
        self._notifier.look()
        if self._status.state == "Receiving":
            return _SNAPSHOT_PERIOD_RECEIVING_S
        self._collector.spare_moment()
        return SNAPSHOT_PERIOD_S

    def _settle(self) -> None:
        """Take the packets that had come when the stop was asked, close their frames and let the outputs finish."""
        source, assembler = self._source, self._assembler
        deadline = time.monotonic() + _DRAIN_SOCKET_S
        while (now := time.monotonic()) < deadline and (n := source.poll()):
            self._slots.publish(assembler.feed(source.block, n, now))
        self._slots.publish(assembler.close_gate())
        self._slots.publish(assembler.flush())
        assert self._outputs
        self._outputs.close(_DRAIN_OUTPUTS_S)
        self._status = self._taker.take(time.monotonic(), self._state, final="Stopped")
