"""All worker processes of one detector server."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from detectors.run_state import RunState
from detectors.runtime_names import RuntimeNames
from detectors.worker_names import HDF5, IMAGES, KEEPER, PARTS, PROCESS, STREAM, WEB
from ioc.process import WorkerProcess
from ioc.remote import RemoteWorker
from ioc.roster import Roster

_WITHOUT_SOURCE = {
    PARTS: "stream",
    STREAM: "stream",
    HDF5: "capture",
    IMAGES: "images",
    WEB: "web",
    PROCESS: "process",
    KEEPER: "keeper",
}
"""Subcommands of the workers of images and of hosts, which have no source, by the first word of their names."""

CommandLine = Callable[[str, RunState], Sequence[str]]
"""Gives the command line of a worker that starts in a run state."""


def command_line(config_path: Path, log_level: str | None = None) -> CommandLine:
    """Return the command lines of the program's own workers; ``log_level`` is the least they log, if not the configuration's."""

    def build(worker: str, state: RunState) -> list[str]:
        start = [sys.executable, "-m", "ioc", *(["--log-level", log_level] if log_level else [])]
        kind, _, name = worker.partition(".")
        if kind in _WITHOUT_SOURCE:
            return [*start, _WITHOUT_SOURCE[kind], str(config_path), *([name] if name else [])]
        verb = {"udp": "receive", "pva": "monitor"}[kind]
        return [*start, verb, str(config_path), name, "--state", state.name.lower()]

    return build


class Supervisor:
    """Starts, watches and ends the workers of this host, and follows those of others.

    ``run_state(worker)`` gives the state that a worker starts in, ``remote`` are the workers of other hosts by name.
    """

    def __init__(
        self,
        runtime: RuntimeNames,
        roster: Roster,
        build: CommandLine,
        run_state: Callable[[str], RunState],
        *,
        restart: bool,
        drain_s: float,
        remote: Mapping[str, RemoteWorker],
    ) -> None:
        self._own = {
            worker: WorkerProcess(
                runtime, roster, worker, lambda w=worker: build(w, run_state(w)), restart=restart, drain_s=drain_s
            )
            for worker in roster
            if worker not in remote
        }
        self._remote = remote
        self._all: Mapping[str, WorkerProcess | RemoteWorker] = {**self._own, **remote}

    async def begin(self, worker: str) -> None:
        """Start a worker, or adopt it; one of another host is adopted when it is heard of."""
        if worker in self._remote:
            self._remote[worker].expect()
        else:
            await self._own[worker].enable()

    def follow(self, now_s: float) -> None:
        """Bring the processes of other hosts up to date."""
        for process in self._remote.values():
            process.look(now_s)

    async def enable(self, worker: str) -> None:
        """Start a worker, or adopt it. Raises CommandError for one of another host that does not run."""
        await self._all[worker].enable()

    async def disable(self, worker: str) -> None:
        """End a worker. Raises CommandError for one of another host that does not answer."""
        await self._all[worker].disable()

    def reset_counters(self, worker: str) -> None:
        """Let the totals of a worker that does not run begin at 0 again. Raises HostError when that is not possible."""
        self._all[worker].reset_counters()

    async def close(self) -> None:
        """End all workers of this host at once, and return when nothing of them is left. Those of other hosts go on."""
        await asyncio.gather(*(process.disable() for process in self._own.values()))
