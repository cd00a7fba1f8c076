"""Snapshots of the workers to values for the records.

One subscription hears all workers; a tick, ten times a second at most, turns the newest snapshot of each into what is
shown. No bulk data comes here.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import orjson
import zmq
import zmq.asyncio

from detectors.runtime import Runtime
from detectors.stats import flat
from ioc.bindings import RECENT
from ioc.recent import Window
from ioc.status import ProcessStatus

log = logging.getLogger(__name__)

SILENCE_S: Final = 2.0
"""A worker that sent no snapshot for so long does not respond, s; it sends two a second at least."""

START_S: Final = 30.0
"""How long a new worker may take to its first snapshot, s: it faults all its memory in before."""


_AT_REST: Final[tuple[tuple[str, Any], ...]] = (
    ("rates.frames_hz", 0.0),
    ("rates.packets_hz", 0.0),
    ("rates.bytes_per_s", 0.0),
    (".in_use", 0),
    (".queued", 0),
    (".subscribers", 0),
    (".state", "Disabled"),
    ("connected", False),
    ("capturing", False),
)
"""What holds of a worker that does not run, by the end of the field's name. Totals stay as they were."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The newest snapshot of a worker and when it came, on the monotonic clock, s."""

    time_s: float
    snapshot: dict[str, Any]


class Observer:
    """Hears every worker. ``latest`` holds the newest snapshot of each by name."""

    def __init__(self, context: zmq.asyncio.Context, runtime: Runtime, workers: Iterable[str]) -> None:
        self.latest: dict[str, Heard] = {}
        self._workers = frozenset(workers)
        self._socket = context.socket(zmq.SUB)
        self._socket.linger = 0
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        for worker in self._workers:
            self._socket.connect(runtime.status(worker))

    async def listen(self, clock: Any) -> None:
        """Take snapshots in until cancelled. ``clock()`` gives monotonic seconds."""
        while True:
            message = await self._socket.recv()
            try:
                snapshot = orjson.loads(message)
                worker = snapshot["worker"]
            except (ValueError, KeyError, TypeError):
                log.error("found %r, expected a worker's snapshot", bytes(message[:80]))  # noqa: TRY400
                continue
            if worker in self._workers:
                self.latest[worker] = Heard(clock(), snapshot)

    def answered(self, worker: str, now_s: float) -> None:
        """Take an answer of a worker for the sign of life that it is."""
        if worker in self.latest:
            self.latest[worker] = Heard(now_s, self.latest[worker].snapshot)

    def close(self) -> None:
        """Close the subscription."""
        self._socket.close()


@dataclass(frozen=True, slots=True)
class Shown:
    """What the records of one worker show: values by dotted name, and whether they are current."""

    values: Mapping[str, Any]
    valid: bool
    responding: bool


class View:
    """What one worker's records show, from its process and its newest snapshot.

    ``defaults`` is the empty snapshot of the worker's kind; ``shown_fields`` are the fields that records show, of which
    those that begin with ``recent.`` get a window each.
    """

    def __init__(self, defaults: Any, shown_fields: Iterable[str]) -> None:
        self._values = flat(defaults)
        self._at_rest = {name: value for name in self._values for end, value in _AT_REST if name.endswith(end)}
        self._windows = {name: Window() for name in shown_fields if name.startswith(RECENT)}

    def look(self, process: ProcessStatus, heard: Heard | None, now_s: float, *, asked: bool = False) -> Shown:
        """Return what to show now. A worker that is being ``asked`` something may be silent: it is at work on it."""
        own = heard is not None and process.running and heard.snapshot.get("pid") == process.pid
        silent_s = now_s - (heard.time_s if heard is not None and own else process.started_s)
        responding = own and (asked or silent_s <= SILENCE_S)
        if heard is not None and own:
            self._values |= flat(heard.snapshot)
        state, message, valid = _state(process, own=own, responding=responding, silent_s=silent_s)
        process = replace(process, responding=responding)
        if not process.running:
            self._values |= self._at_rest
        values = {**self._values, **flat({"process": asdict(process)})}
        if state is not None:
            values |= {"state": state, "message": message}
        values |= {name: window.add(now_s, values[name[len(RECENT) :]]) for name, window in self._windows.items()}
        return Shown(values, valid, responding)


def _state(process: ProcessStatus, *, own: bool, responding: bool, silent_s: float) -> tuple[str | None, str, bool]:
    """Return the state and message that the process gives, None when the worker's own hold, and whether values are current."""
    if responding:
        return None, "", True
    if not process.enabled:
        return "Disabled", "", True
    if not process.running:
        # Between enabling and the start there is nothing to complain of yet.
        return ("Failed", process.message, False) if process.message else ("Starting", "", True)
    if own:
        return "Failed", f"process {process.pid} sent no snapshot for more than {SILENCE_S:g} s", False
    if silent_s > START_S:
        return "Failed", f"process {process.pid} sent no snapshot since its start", False
    return "Starting", "", True
