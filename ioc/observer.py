"""Snapshots of the workers to values for the records.

One subscription takes the snapshots of all workers; ten times a second what has come is taken in, and a ``View`` turns the newest one
of each into the values of its records. No bulk data comes here.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any, Final

import orjson
import zmq

from detectors.curve import load_client
from detectors.hosts import Reach
from detectors.sources.connection import notice_lost_peer
from detectors.stats import flat
from detectors.workers.commands import MAX_MESSAGE_BYTES, SILENCE_S
from ioc.bindings import RECENT
from ioc.recent import RecentGain
from ioc.roster import Heard, Roster
from ioc.status import ProcessStatus

log = logging.getLogger(__name__)

_RECONNECT_MS: Final = 100
_RECONNECT_MAX_MS: Final = 1000
START_S: Final = 30.0
"""Time-out for the first snapshot of a new worker, s: it faults in all its memory first."""


_AT_REST: Final[tuple[tuple[str, Any], ...]] = (
    ("rates.frames_hz", 0.0),
    ("rates.packets_hz", 0.0),
    ("rates.bytes_per_s", 0.0),
    (".in_use", 0),
    (".queued", 0),
    (".subscribers", 0),
    (".state", "Off"),
    ("connected", False),
    ("capturing", False),
    ("file_open", False),
)
"""Values of a worker that does not run, by the end of the field's name. Totals stay as they were."""


class Observer:
    """Receives the snapshots of all workers into the roster. Raises ConfigError when keys cannot be read.

    They wait in the socket until they are taken: to wake for each would cost as much as all that is done with them.
    """

    def __init__(self, context: zmq.Context[Any], reaches: Iterable[Reach], roster: Roster) -> None:
        self._roster = roster
        self._socket = context.socket(zmq.SUB, zmq.Socket)
        self._socket.linger = 0
        self._socket.maxmsgsize = MAX_MESSAGE_BYTES
        self._socket.reconnect_ivl, self._socket.reconnect_ivl_max = _RECONNECT_MS, _RECONNECT_MAX_MS
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        # Options hold for the connections made after them: first those of this host, without keys.
        used = None
        for status, _, keys in sorted(reaches, key=lambda reach: reach.keys is not None):
            if keys and keys != used:
                load_client(keys).use(self._socket)
                notice_lost_peer(self._socket)
                used = keys
            self._socket.connect(status)

    def take(self, now_s: float) -> None:
        """Take all snapshots that have come."""
        while True:
            try:
                message = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                self._roster.snapshot(orjson.loads(message), now_s)
            except (ValueError, KeyError, TypeError):
                log.error("found %r, expected a worker's snapshot", message[:80])  # noqa: TRY400

    def close(self) -> None:
        """Close the subscription."""
        self._socket.close()


class View:
    """What one worker's records show, from its process and its newest snapshot.

    ``defaults`` is the empty snapshot of the worker's kind; ``shown_fields`` are the fields that records show, of which
    those that begin with ``recent.`` get a window of ``window_s`` each. ``totals`` returns the totals of a worker that does not run, if
    there are any.
    """

    def __init__(
        self,
        defaults: Any,
        shown_fields: Iterable[str],
        window_s: float,
        totals: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self.values = flat(defaults)
        """Everything to show, by dotted name."""
        self.valid = True
        """False: the values are only the last known ones."""
        self.responding = False
        self._at_rest = {name: value for name in self.values for end, value in _AT_REST if name.endswith(end)}
        self._windows = {name: RecentGain(window_s) for name in shown_fields if name.startswith(RECENT)}
        self.values |= dict.fromkeys(self._windows, 0)  # of a worker that never ran, too
        self._totals = totals
        self._counting = self._take_totals()
        """Whether the totals are known: what is gained from then on is recent."""
        self._growing: list[str] = []
        """Windows with a gain in them, which must decay."""
        self._process: ProcessStatus | None = None
        self._snapshot: Mapping[str, Any] | None = None
        self._shown_state: tuple[str | None, str, bool] = None, "", True

    def look(
        self, process: ProcessStatus, heard: Heard | None, now_s: float, *, in_command: bool = False
    ) -> Mapping[str, Any]:
        """Bring ``values`` up to date and return those that may have changed; all of them, unless nothing is new.

        A worker ``in_command`` is at work on a command and may be silent.
        """
        own = heard if heard is not None and process.running and heard.snapshot.get("pid") == process.pid else None
        silent_s = now_s - (own.time_s if own else process.started_s)
        self.responding = own is not None and (in_command or silent_s <= SILENCE_S)
        shown_state = _state(process, own=own is not None, responding=self.responding, silent_s=silent_s)
        snapshot = own.snapshot if own else None
        same_process = process is self._process and shown_state == self._shown_state
        if same_process and snapshot is self._snapshot:
            return self._recent(self._growing, now_s)
        self._process, self._snapshot, self._shown_state = process, snapshot, shown_state
        if snapshot is not None:
            self.values |= flat(snapshot)
            self._counting = True
        if not same_process:
            self.values |= flat({"process": asdict(replace(process, responding=self.responding))})
        if not process.running:
            self._take_totals()
            self.values |= self._at_rest
        state, message, self.valid = shown_state
        if state is not None:
            self.values |= {"state": state, "message": message}
        self._recent(self._windows, now_s)
        return self.values

    def _take_totals(self) -> bool:
        """Show the totals of a worker that does not run; return whether there are any."""
        totals = self._totals()
        self.values |= {name: value for name, value in totals.items() if name in self.values}
        return bool(totals)

    def _recent(self, names: Iterable[str], now_s: float) -> Mapping[str, Any]:
        """Bring windows up to date and return their gains."""
        gains = {
            name: self._windows[name].add(now_s, self.values[total])
            for name in names
            if (total := name.removeprefix(RECENT)).startswith("process.") or self._counting
        }
        self.values |= gains
        self._growing = [name for name, gain in gains.items() if gain]
        return gains


def _state(process: ProcessStatus, *, own: bool, responding: bool, silent_s: float) -> tuple[str | None, str, bool]:
    """Return state and message by the process (state None: the worker's own are right), and whether values are current."""
    if responding:
        return None, "", True
    if not process.enabled:
        return "Off", "", True
    if not process.running:
        # No message: it is to run and not started yet.
        return ("Failed", process.message, False) if process.message else ("Starting", "", True)
    if own:
        return "Failed", f"process {process.pid} sent no snapshot for more than {SILENCE_S:g} s", False
    if silent_s > START_S:
        return "Failed", f"process {process.pid} sent no snapshot since its start", False
    return "Starting", "", True
