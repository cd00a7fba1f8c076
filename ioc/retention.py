"""Retention of the buffer on disk: its limits as setpoints, and what all hosts hold and have deleted.

The limits are the same everywhere, and hold on each host for all sources of it together. The disks of the IOC's own host are
kept here, those of another by a worker there (``detectors.workers.keeper``), which goes on while the IOC is away.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from detectors.buffer.retention import RetentionKeeper
from detectors.buffer.retention_limits import beyond, configured_limits, limits_from, shown_limits
from detectors.config import Config, DiskSection
from detectors.errors import CommandError, HostError
from detectors.stats import LimitsShown, RetentionStats
from detectors.worker_names import keepers
from detectors.workers.keeper import modules_elsewhere
from ioc.bindings import Handler
from ioc.roster import Roster
from ioc.run_control import Ask
from ioc.together import each

OWNER: Final = "retention"
"""Stands for the retention in bindings."""

_STATES: Final = ("Off", "Idle", "Deleting", "Blocked", "Failing")
"""The best first."""


@dataclass(frozen=True, slots=True)
class RetentionStatus:
    """The values of the retention's records."""

    keep: LimitsShown = field(default_factory=LimitsShown)
    stats: RetentionStats = field(default_factory=RetentionStats)


class Retention:
    """The retention of a configuration that writes to disk; it deletes what the server with this PV prefix wrote."""

    def __init__(self, config: Config, disk: DiskSection, roster: Roster, ask: Ask) -> None:
        self._configured = configured_limits(disk)
        self._keeper = RetentionKeeper(
            (),
            self._configured,
            server=config.detector.prefix,
            roots=disk.allowed,
            others=modules_elsewhere(config, None),
        )
        self._keeps_own = bool(config.sources_on(None))
        self.keepers = keepers(config)
        """The keepers of other hosts: the name of the host by that of the worker."""
        self._roster = roster
        self._ask = ask
        self._turn = asyncio.Lock()

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers of the limits: their word is a field of LimitsShown."""
        return {"retention_limit": Handler(self._set_limit, self._limit)}

    def start(self, folders: Iterable[Path]) -> None:
        """Begin to keep the detector folders ``folders`` within the limits. Raises HostError for an impossible limit."""
        self._keeper.set_detectors(folders)
        problem = beyond(self._keeper.limits.keep_free, self._keeper.detectors)
        if problem:
            raise HostError(f"disk.keep_free: {problem}")
        self._keeper.start()

    def follow(self, folders: Iterable[Path]) -> None:
        """Keep these folders of the IOC's host from now on."""
        wanted = tuple(folders)
        if wanted != self._keeper.detectors:
            self._keeper.set_detectors(wanted)

    def adopt(self, status: Mapping[str, Any]) -> None:
        """Take over the limits of a keeper that ran before this IOC, if they were set and not configured."""
        limits = limits_from(LimitsShown(**status["keep"]))
        if limits != self._configured:
            self._keeper.set_limits(limits)

    async def settle(self, worker: str) -> None:
        """Bring a keeper that has just begun to respond to the limits. Raises CommandError when it refuses."""
        wanted = asdict(shown_limits(self._keeper.limits))
        status = await self._ask(worker, "status")
        if status["keep"] != wanted:
            await self._ask(worker, "limits", **wanted)

    def close(self) -> None:
        """Stop the IOC's own keeper and wait for the deletion in progress."""
        self._keeper.close()

    def status(self, workers: Mapping[str, Mapping[str, Any]]) -> RetentionStatus:
        """Return the limits and statistics for the records, from what those of ``workers`` show."""
        parts = {"": self._keeper.stats} if self._keeps_own else {}
        unheard: dict[str, str] = {}
        for keeper, host in self.keepers.items():
            values = workers[keeper]
            if values["pid"]:
                parts[host] = _of_host(values)
            elif values["state"] == "Failed":
                unheard[host] = values["message"]
        return RetentionStatus(shown_limits(self._keeper.limits), combined(parts, unheard))

    def _limit(self, name: str) -> float:
        return getattr(shown_limits(self._keeper.limits), name)

    async def _set_limit(self, value: Any, name: str) -> None:
        async with self._turn:
            wanted = replace(shown_limits(self._keeper.limits), **{name: float(value)})
            limits = limits_from(wanted)
            if name == "free_gib" and (problem := beyond(limits.keep_free, self._keeper.detectors)):
                raise CommandError(problem)
            keepers = [keeper for keeper in self.keepers if keeper in self._roster.responding]
            # First all are asked: a limit that one host refuses must delete nothing on another.
            for command in ("check_limits", "limits"):
                await each(keepers, lambda keeper, command=command: self._ask(keeper, command, **asdict(wanted)))
            self._keeper.set_limits(limits)


def combined(parts: Mapping[str, RetentionStats], unheard: Mapping[str, str]) -> RetentionStats:
    """Return the statistics of all hosts together, by their names; that of the IOC has none. Pure.

    ``unheard`` are hosts of which nothing is known, each with the reason.
    """
    stats = list(parts.values())
    oldest = max((one for one in stats if one.files), key=lambda one: one.oldest_hours, default=RetentionStats())
    messages = {host: one.message for host, one in parts.items() if one.message} | dict(unheard)
    return RetentionStats(
        state="Failing" if unheard else max((one.state for one in stats), key=_STATES.index, default="Off"),
        files=sum(one.files for one in stats),
        kept_bytes=sum(one.kept_bytes for one in stats),
        deleted_files=sum(one.deleted_files for one in stats),
        deleted_bytes=sum(one.deleted_bytes for one in stats),
        free_bytes=min((one.free_bytes for one in stats), default=0),
        oldest_hours=oldest.oldest_hours,
        oldest_pulse=oldest.oldest_pulse,
        errors=sum(one.errors for one in stats),
        message="; ".join(f"{host}: {text}" if host else text for host, text in messages.items()),
        last_action=max((one.last_action for one in stats), default=""),  # each begins with its time
    )


def _of_host(values: Mapping[str, Any]) -> RetentionStats:
    """Return what the records of a keeper show, as the IOC's own keeper has it."""
    shown: dict[str, Any] = {one.name: values[f"retention.{one.name}"] for one in fields(RetentionStats)}
    state = values["state"]
    shown["state"] = state if state in _STATES else "Failing" if state == "Failed" else "Off"
    shown["message"] = values["message"]
    return RetentionStats(**shown)
