"""Records to workers: every command that a record can give."""

from collections.abc import Iterable
from typing import Any

from detectors.errors import CommandError, HostError
from detectors.run_state import service_by_label
from detectors.worker_names import PROCESS, STREAM
from ioc.ad_names import handlers as fixed_handlers
from ioc.bindings import ALL, Handler
from ioc.face import Face
from ioc.places import absolute, allowed_place, below_roots_elsewhere
from ioc.retention import Retention
from ioc.roster import Roster
from ioc.run_control import Ask
from ioc.runs import Runs
from ioc.settings import Settings
from ioc.supervisor import Supervisor
from ioc.together import each


class Commands:
    """The handlers. A worker that does not respond gets its settings when it does (``settle``)."""

    def __init__(
        self,
        roster: Roster,
        settings: Settings,
        runs: Runs,
        supervisor: Supervisor,
        ask: Ask,
        *,
        faces: Iterable[Face],
        retention: Retention | None,
    ) -> None:
        self._roster = roster
        self._settings = settings
        self._runs = runs
        self._supervisor = supervisor
        self._ask = ask
        self._retention = retention
        self._acquisitions = {face.detector.name: face.acquisition for face in faces}
        self._captures = {face.detector.hdf5: face.capture for face in faces if face.capture}

    def handlers(self) -> dict[str, Handler]:
        """Return every handler by the name that bindings use."""
        found = {
            "transition": Handler(self._transition),
            "acquire": Handler(self._acquire, lambda: int(any(a.acquiring for a in self._acquisitions.values()))),
            "acquire_end": Handler(self._acquire_end),
            "worker_run": Handler(self._worker_run, self._worker_run_shown),
            "reset_counters": Handler(self._reset_counters),
            "output_on": Handler(self._output_on, self._output_on_shown),
        }
        if (STREAM, "reduced") in self._settings.outputs:
            found["reduced_rate"] = Handler(self._reduced_rate, lambda: self._settings.reduced_rate_hz)
        if PROCESS in self._roster:
            found["process_reset"] = Handler(lambda: self._ask(PROCESS, "reset"))
        if self._settings.folders:
            found["output_folder"] = Handler(self._output_folder, self._output_folder_shown)
        found |= self._retention.handlers() if self._retention else {}
        return {**found, **fixed_handlers()}

    async def settle(self, worker: str) -> None:
        """Bring a worker that has just begun to respond to its settings. Raises CommandError when it refuses."""
        if worker in self._captures:
            await self._captures[worker].settle()
            return
        if self._retention and worker in self._retention.keepers:
            await self._retention.settle(worker)
            return
        status = await self._ask(worker, "status")
        for command, arguments in self._settings.missing(worker, status):
            await self._ask(worker, command, **arguments)
        if worker in self._runs:
            await self._runs.of(worker).settle(worker)

    async def _transition(self, label: str) -> None:
        await self._runs.transition(service_by_label(label))

    async def _acquire(self, on: Any) -> None:
        idle = [detector for detector, acquisition in self._acquisitions.items() if not acquisition.acquiring]
        try:
            await each(self._acquisitions, lambda detector: self._acquisitions[detector].acquire(on))
        except CommandError:
            if on:  # all or none
                await each(idle, lambda detector: self._acquisitions[detector].acquire(0))
            raise

    async def _acquire_end(self, value: Any) -> None:
        await each(self._acquisitions, lambda detector: self._acquisitions[detector].acquire_end(value))

    def _worker_run_shown(self, worker: str) -> int:
        return int(self._settings.enabled[worker])

    async def _worker_run(self, value: Any, worker: str) -> None:
        switch = self._supervisor.enable if value else self._supervisor.disable
        await switch(worker)
        self._settings.enabled[worker] = bool(value)

    async def _reset_counters(self, worker: str) -> None:
        async def reset(name: str) -> None:
            if name in self._roster.responding:
                await self._ask(name, "reset_counters")
            else:
                try:
                    self._supervisor.reset_counters(name)
                except HostError as error:
                    raise CommandError(str(error)) from None

        await each(self._roster if worker == ALL else [worker], reset)

    def _output_on_shown(self, worker: str, output: str) -> int:
        return int(all(self._settings.outputs[name, output] for name in self._named(worker)))

    async def _output_on(self, value: Any, worker: str, output: str) -> None:
        async def switch(name: str) -> None:
            await self._ask_if_there(name, "output", output=output, enabled=bool(value))
            self._settings.outputs[name, output] = bool(value)

        await each(self._named(worker), switch)

    def _output_folder_shown(self, worker: str) -> str:
        """Return the folder of a source, or of all if it is one; else none."""
        folder, *others = {self._settings.folders[name] for name in self._named(worker)}
        return "" if others else folder

    async def _output_folder(self, value: str, worker: str) -> None:
        named, hosts = self._named(worker), self._settings.hosts
        if worker == ALL:
            below_roots_elsewhere(value, self._settings.host_roots, "folder")
        own = "" if all(hosts[name] for name in named) else await allowed_place(value, self._settings.roots, "folder")

        async def move(name: str) -> None:
            folder = absolute(value, "folder") if hosts[name] else own
            # What a worker on another host makes of it, with that host's symlinks.
            found = await self._ask_if_there(name, "folder", folder=folder)
            self._settings.folders[name] = found or folder

        await each(named, move)

    async def _reduced_rate(self, value: Any) -> None:
        await self._ask_if_there(STREAM, "reduced_rate", hz=float(value))
        self._settings.reduced_rate_hz = float(value)

    async def _ask_if_there(self, worker: str, command: str, **arguments: Any) -> Any:
        return await self._ask(worker, command, **arguments) if worker in self._roster.responding else None

    def _named(self, worker: str) -> list[str]:
        return list(self._roster.sources) if worker == ALL else [worker]
