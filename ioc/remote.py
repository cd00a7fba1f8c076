"""One worker on another host: adopted when it is heard of, and never started from here.

Its host's service manager launches it. What is known of it is in its snapshots.
"""

import asyncio
import logging
from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from typing import Any, Final

from detectors.errors import CommandError, HostError
from ioc.link import NoAnswerError
from ioc.roster import Roster
from ioc.run_control import Ask

log = logging.getLogger(__name__)

LOST_S: Final = 5.0
"""A worker that sent no snapshot for so long is taken as gone, s; it sends one a second at least."""

_ENDED: Final = ("Stopped", "Failed")
"""States of the last snapshot of a worker."""


class RemoteWorker:
    """Follows one worker by its snapshots. ``enabled`` is which workers are to run, by name: one that is launched there is.

    ``drain_s`` is how long it may take to end.
    """

    def __init__(
        self,
        roster: Roster,
        ask: Ask,
        worker: str,
        host: str,
        *,
        enabled: MutableMapping[str, bool],
        drain_s: float,
    ) -> None:
        self.worker = worker
        self._roster = roster
        self._ask = ask
        self._host = host
        self._enabled = enabled
        self._drain_s = drain_s
        self._expected_s: float | None = None
        """Since when it is to run and was not heard of."""
        self._ended = asyncio.Event()
        self._leaving = 0
        """Pid of the process that was told to stop; 0: none."""
        self._last = 0
        """Pid of the last process; 0: there was none, or it was stopped from here."""

    def look(self, now_s: float) -> None:
        """Bring its process up to date with its snapshots."""
        process, heard = self._roster.processes[self.worker], self._roster.heard.get(self.worker)
        pid = heard.snapshot.get("pid", 0) if heard else 0
        silent_s = now_s - heard.time_s if heard else float("inf")
        over = heard is not None and heard.snapshot.get("state") in _ENDED
        if silent_s > LOST_S or over:
            self._miss(now_s, _how_it_ended(heard.snapshot) if heard and over else "")
        elif pid != self._leaving and (not process.running or pid != process.pid):
            restarts = process.restarts + (self._last not in (0, pid))
            log.info("%s: adopted, running on %s as process %d", self.worker, self._host, pid)
            self._enabled[self.worker] = True
            self._leaving, self._last, self._expected_s = 0, pid, None
            self._note(
                enabled=True, running=True, adopted=True, pid=pid, started_s=now_s, restarts=restarts, message=""
            )

    def _miss(self, now_s: float, ended: str) -> None:
        """Note that it does not run; ``ended`` is how it ended, empty when that is not known."""
        process = self._roster.processes[self.worker]
        if process.running:
            level = logging.INFO if self._leaving else logging.ERROR
            self._leaving, self._expected_s = 0, now_s
            self._ended.set()
            message = (
                ended or f"no snapshot from {self._host} for {LOST_S:g} s: the worker, its host or the network is down"
            )
            log.log(level, "%s: %s", self.worker, message)
            self._note(running=False, adopted=False, pid=0, message=message)
        elif process.enabled and not process.message:
            self._expected_s = now_s if self._expected_s is None else self._expected_s
            if now_s - self._expected_s > LOST_S:
                self._note(message=f"was not heard of on {self._host}: start it there, with its service")

    def expect(self) -> None:
        """Wait for its snapshots from now on."""
        self._note(enabled=True, message="")

    async def enable(self) -> None:
        """Let it run. Raises CommandError when it does not: it cannot be started from here."""
        self._leaving = 0
        if not self._roster.processes[self.worker].running:
            raise CommandError(
                f"{self.worker} does not run on {self._host}, and only that host can start it: use systemctl start there"
            )

    async def disable(self) -> None:
        """End it, and return when it has ended. Raises CommandError when it does not answer."""
        process = self._roster.processes[self.worker]
        if process.running:
            self._leaving = process.pid
            self._ended.clear()
            try:
                await self._ask(self.worker, "stop")
            except NoAnswerError:
                self._leaving = 0
                raise
            try:
                await asyncio.wait_for(self._ended.wait(), self._drain_s + LOST_S)
            except TimeoutError:
                raise CommandError(f"{self.worker} did not end on {self._host}; look at its service there") from None
        self._last = 0
        self._note(enabled=False, message="")

    def reset_counters(self) -> None:
        """Refuse: its totals lie on its host. Raises HostError."""
        raise HostError(f"{self.worker} does not respond, and its totals are on {self._host}; reset them when it runs")

    def _note(self, **changes: Any) -> None:
        self._roster.processes[self.worker] = replace(self._roster.processes[self.worker], **changes)


def _how_it_ended(snapshot: Mapping[str, Any]) -> str:
    """Return what the last snapshot of a worker says of its end."""
    message = str(snapshot.get("message", ""))
    return f"ended: {message}" if message else "ended"
