"""Carries out what the state machine decides: places events, gives slots back, makes and frees buffers, answers."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from detectors.assembly.match import Discarded, Settled
from detectors.errors import PebbleDaqError, PoolExhaustedError
from detectors.workers.monitor.intake import Intake
from detectors.workers.monitor.messages import (
    Action,
    Answer,
    Begin,
    Build,
    Count,
    Gate,
    Input,
    Restage,
    Resume,
    Staged,
)
from detectors.workers.monitor.store import DRAIN_S, BufferStore
from detectors.workers.monitor.tally import Tally
from detectors.workers.monitor.update_slots import UpdateSlots

log = logging.getLogger(__name__)


class DataPath:
    """For the data thread.

    ``inputs`` returns what has come in; ``notify`` is given the pulse_id of each event placed; ``enter`` is called when one
    is counted, before the outputs get it.
    """

    def __init__(
        self,
        intakes: Sequence[Intake],
        store: BufferStore,
        tally: Tally,
        inputs: Callable[[], list[Input]],
        notify: Callable[[int], object],
        *,
        enter: Callable[[int], object],
    ) -> None:
        self.drain_s = DRAIN_S
        """How long the outputs may take to finish when buffers are freed."""
        self.pulse_id = self.data_ns = 0
        self.placed_bytes = 0
        self.differences_ns = [0] * len(intakes)
        """L1Accept minus PV timestamp of each PV's last match."""
        self.opened_ns = 0
        """When data was last taken from, by the monotonic clock."""
        self._intakes, self._store, self._tally, self._inputs, self._notify = intakes, store, tally, inputs, notify
        self._enter = enter

    def do(self, action: Action) -> Any:
        """Carry out an action, and return its reply."""
        match action:
            case Count(counts):
                self._tally.add(**counts)
            case Settled():
                self._place(action)
            case Discarded(_, update, fate):
                update.buffer.release()
                self._tally.add(held=-1, **{fate.value: 1})
            case Begin(command):
                return command.answer.set_running_or_notify_cancel()
            case Answer(command, result):
                if isinstance(result, PebbleDaqError):
                    command.answer.set_exception(result)
                else:
                    command.answer.set_result(result)
            case Gate(opening):
                return self._set_gate(opening)
            case Build():
                return self._build(action)
            case Restage(layout, arrays):
                self._attach(self._store.restage(layout).updates, arrays)
            case Resume(pv):
                self._intakes[pv].resume()
            case _:
                for intake in self._intakes:
                    intake.detach()
                self._store.free(self.drain_s)
        return None

    def _set_gate(self, opening: bool) -> list[Input]:  # noqa: FBT001
        with self._tally.lock:
            for intake in self._intakes:
                intake.accepting = opening
        if not opening:
            return self._inputs()
        self.opened_ns = time.monotonic_ns()
        return []

    def _build(self, build: Build) -> PebbleDaqError | None:
        try:
            buffers = self._store.build(build.plan, build.layout)
        except PebbleDaqError as error:
            return error
        self._attach(buffers.updates, build.arrays)
        return None

    def _attach(self, updates: Sequence[UpdateSlots], arrays: Sequence[Any]) -> None:
        for intake, slots, array in zip(self._intakes, updates, arrays, strict=True):
            intake.attach(slots, array)

    def _place(self, settled: Settled[Staged]) -> None:
        buffers, pulse_id = self._store.present, settled.event.pulse_id
        assert buffers is not None
        for number, difference_ns in enumerate(settled.differences_ns):
            if difference_ns is not None:
                self.differences_ns[number] = difference_ns
        updates = [t for t in settled.tokens if t is not None]
        count = len(updates)
        try:
            lease = buffers.place(settled)
        except PoolExhaustedError:
            lease = None
        for update in updates:
            update.buffer.release()
        if lease is None:
            self._tally.add(held=-count, exhausted=count, l1_pending=-1, l1_exhausted=1)
            return
        partial, truncated = count < len(settled.tokens), buffers.truncates
        with self._tally.lock:
            self._tally.add(held=-count, match=count, l1_pending=-1, placed=1, partial=partial, truncated=truncated)
            self.pulse_id, self.data_ns = pulse_id, settled.event.timestamp_ns
            self._enter(pulse_id)  # first, so that no output writes more
            buffers.outputs.offer(lease)
            self.placed_bytes += sum(u.nbytes for u in updates)
        self._notify(pulse_id)
