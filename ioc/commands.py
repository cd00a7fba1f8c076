"""Records to workers: every command that a record can give."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from detectors.errors import CommandError, HostError
from detectors.run_state import service_by_label
from detectors.worker_names import STREAM
from ioc.ad_names import handlers as fixed_handlers
from ioc.bindings import ALL, Handler
from ioc.face import Face
from ioc.places import allowed_place
from ioc.roster import Roster
from ioc.run_control import Ask
from ioc.runs import Runs
from ioc.settings import Settings
from ioc.supervisor import Supervisor


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
    ) -> None:
        self._roster = roster
        self._settings = settings
        self._runs = runs
        self._supervisor = supervisor
        self._ask = ask
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
        if self._settings.folders:
            found["output_folder"] = Handler(self._output_folder, self._output_folder_shown)
        return {**found, **fixed_handlers()}

    async def settle(self, worker: str) -> None:
        """Bring a worker that has just begun to respond to its settings. Raises CommandError when it refuses."""
        if worker in self._captures:
            await self._captures[worker].settle()
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
            await _each(self._acquisitions, lambda detector: self._acquisitions[detector].acquire(on))
        except CommandError:
            if on:  # all or none
                await _each(idle, lambda detector: self._acquisitions[detector].acquire(0))
            raise

    async def _acquire_end(self, value: Any) -> None:
        await _each(self._acquisitions, lambda detector: self._acquisitions[detector].acquire_end(value))

    def _worker_run_shown(self, worker: str) -> int:
        return int(self._settings.enabled[worker])

    async def _worker_run(self, value: Any, worker: str) -> None:
        self._settings.enabled[worker] = bool(value)
        if value:
            await self._supervisor.enable(worker)
        else:
            await self._supervisor.disable(worker)

    async def _reset_counters(self, worker: str) -> None:
        async def reset(name: str) -> None:
            if name in self._roster.responding:
                await self._ask(name, "reset_counters")
            else:
                try:
                    self._supervisor.reset_counters(name)
                except HostError as error:
                    raise CommandError(str(error)) from None

        await _each(self._roster if worker == ALL else [worker], reset)

    def _output_on_shown(self, worker: str, output: str) -> int:
        return int(all(self._settings.outputs[name, output] for name in self._named(worker)))

    async def _output_on(self, value: Any, worker: str, output: str) -> None:
        async def switch(name: str) -> None:
            await self._ask_if_there(name, "output", output=output, enabled=bool(value))
            self._settings.outputs[name, output] = bool(value)

        await _each(self._named(worker), switch)

    def _output_folder_shown(self, worker: str) -> str:
        return self._settings.folders[self._named(worker)[0]]

    async def _output_folder(self, value: str, worker: str) -> None:
        folder = await allowed_place(value, self._settings.roots, "folder")

        async def move(name: str) -> None:
            await self._ask_if_there(name, "folder", folder=folder)
            self._settings.folders[name] = folder

        await _each(self._named(worker), move)

    async def _reduced_rate(self, value: Any) -> None:
        await self._ask_if_there(STREAM, "reduced_rate", hz=float(value))
        self._settings.reduced_rate_hz = float(value)

    async def _ask_if_there(self, worker: str, command: str, **arguments: Any) -> None:
        if worker in self._roster.responding:
            await self._ask(worker, command, **arguments)

    def _named(self, worker: str) -> list[str]:
        return list(self._roster.sources) if worker == ALL else [worker]


async def _each(names: Iterable[str], action: Callable[[str], Awaitable[None]]) -> None:
    """Do ``action`` for all names at once; raise one CommandError that names each that refused."""
    listed = list(names)
    answers = await asyncio.gather(*(action(name) for name in listed), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, CommandError):
            raise answer
    refusals = [
        f"{name}: {answer}" if name else str(answer)
        for name, answer in zip(listed, answers, strict=True)
        if answer is not None
    ]
    if refusals:
        raise CommandError("; ".join(refusals))
