"""Records to workers: every command that a record can give.

What is asked for is kept here as a wish, so that a worker that is started again gets what was set, not what the
configuration said.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from detectors.config import Config
from detectors.errors import CommandError
from detectors.run_state import RunState
from ioc.bindings import Handler
from ioc.capture import CaptureControl
from ioc.run_control import Ask, RunControl, service_by_label
from ioc.supervisor import Supervisor
from ioc.templates import HDF5, STREAM, image_streams, workers

log = logging.getLogger(__name__)

ALL: Final = "all"
"""Stands for every source in a binding's words."""


class Commands:
    """The handlers, and the wishes behind the setpoints."""

    def __init__(self, config: Config, run: RunControl, supervisor: Supervisor, ask: Ask) -> None:
        self._run = run
        self._supervisor = supervisor
        self._ask = ask
        sources = {name: source for name, source in workers(config).items() if source is not None}
        self._sources = list(sources)
        self._detectors = {name: config.detector_of(source) for name, source in sources.items()}
        self.enabled = {name: source.enabled for name, source in sources.items()}
        if config.stream is not None:
            self.enabled[STREAM] = config.stream.enabled
        self.capture = None
        """Control of the HDF5 writer; None where the configuration has none."""
        if config.hdf5 is not None:
            self.enabled[HDF5] = True
            self.capture = CaptureControl(config.hdf5, ask, lambda: HDF5 in self.responding)
        outputs = {"zmq": config.zmq.enabled} | ({"disk": config.disk.enabled} if config.disk else {})
        self._configured = {(name, output): on for name in sources for output, on in outputs.items()}
        self._configured |= {(STREAM, output): True for output in image_streams(config)}
        self._outputs = dict(self._configured)
        self._configured_rate_hz = self._rate_hz = config.stream.reduced_rate_hz if config.stream else 0.0
        self._folder = str(config.disk.folder) if config.disk else None
        self._folders = dict.fromkeys(sources, self._folder) if self._folder else {}
        self.responding: frozenset[str] = frozenset()
        """Workers that can be asked at present."""

    def sources_responding(self) -> list[str]:
        """Return the workers that a transition goes to: workers of images have no run."""
        return [name for name in self._sources if name in self.responding]

    def detector_folders(self) -> list[Path]:
        """Return the folders that the sources write to, one for each detector and place."""
        folders = {Path(root) / self._detectors[name] for name, root in self._folders.items()}
        return sorted(folders)

    def handlers(self) -> dict[str, Handler]:
        """Return every handler by the name that bindings use."""
        found = {
            "transition": Handler(self._transition),
            "acquire": Handler(self._run.acquire, lambda: int(self._run.acquiring)),
            "acquire_end": Handler(self._run.acquire_end),
            "worker_enable": Handler(self._worker_enable, lambda worker: int(self.enabled[worker])),
            "output_enable": Handler(self._output_enable, self._output_enabled),
        }
        if (STREAM, "reduced") in self._outputs:
            found["reduced_rate"] = Handler(self._reduced_rate, lambda: self._rate_hz)
        if self._folders:
            found["output_folder"] = Handler(self._output_folder, self._output_folder_shown)
        return found | (self.capture.handlers() if self.capture else {})

    def adopt(self, worker: str, status: Mapping[str, Any]) -> None:
        """Wish for what a worker that ran before this IOC has: data taking must not change by a restart."""
        self.enabled[worker] = True
        if worker == HDF5 and self.capture:
            self.capture.adopt(status)
            return
        for name, output in self._outputs:
            if name == worker and status.get(output, {}).get("name"):
                self._outputs[name, output] = bool(status[output]["enabled"])
        folder = status.get("disk", {}).get("folder")
        if folder and worker in self._folders:
            self._folders[worker] = str(Path(folder).parent)  # a worker shows its detector's folder

    async def settle(self, worker: str) -> None:
        """Bring a worker that has just begun to respond to what is wished. Raises CommandError when it refuses."""
        if worker == HDF5 and self.capture:
            await self.capture.settle()
            return
        status = await self._ask(worker, "status")
        for (name, output), enabled in self._outputs.items():
            if name == worker and status.get(output, {}).get("name") and status[output]["enabled"] != enabled:
                await self._ask(worker, "output", output=output, enabled=enabled)
        folder = status.get("disk", {}).get("folder")
        if folder and worker in self._folders and str(Path(folder).parent) != self._folders[worker]:
            await self._ask(worker, "folder", folder=self._folders[worker])
        if worker in self._sources:
            await self._run.settle(worker)
        elif self._rate_hz != self._configured_rate_hz:
            await self._ask(worker, "reduced_rate", hz=self._rate_hz)

    def start_state(self, worker: str) -> RunState:
        """Return the run state that a worker is to start in.

        Where outputs were switched or moved since, it must be told so before data flows: it starts Configured, and is
        taken further when it has settled.
        """
        as_configured = all(self._configured[key] == on for key, on in self._outputs.items() if key[0] == worker)
        if not as_configured or self._folders.get(worker, self._folder) != self._folder:
            return min(self._run.state, RunState.CONFIGURED)
        return self._run.state

    async def _transition(self, label: str) -> None:
        await self._run.transition(service_by_label(label))

    async def _worker_enable(self, value: Any, worker: str) -> None:
        self.enabled[worker] = bool(value)
        if value:
            await self._supervisor.enable(worker)
        else:
            await self._supervisor.disable(worker)

    def _output_enabled(self, worker: str, output: str) -> int:
        return int(all(self._outputs[name, output] for name in self._named(worker)))

    async def _output_enable(self, value: Any, worker: str, output: str) -> None:
        async def switch(name: str) -> None:
            if name in self.responding:
                await self._ask(name, "output", output=output, enabled=bool(value))
            self._outputs[name, output] = bool(value)

        await _each(self._named(worker), switch)

    def _output_folder_shown(self, worker: str) -> str:
        return self._folders[self._named(worker)[0]]

    async def _output_folder(self, value: str, worker: str) -> None:
        if not Path(value).is_absolute():
            raise CommandError(f"found the folder {value!r}, expected an absolute path")

        async def move(name: str) -> None:
            if name in self.responding:
                await self._ask(name, "folder", folder=value)
            self._folders[name] = value

        await _each(self._named(worker), move)

    async def _reduced_rate(self, value: Any) -> None:
        if STREAM in self.responding:
            await self._ask(STREAM, "reduced_rate", hz=float(value))
        self._rate_hz = float(value)

    def _named(self, worker: str) -> list[str]:
        return self._sources if worker == ALL else [worker]


async def _each(names: Iterable[str], action: Any) -> None:
    """Do ``action`` for every worker at once; raise one CommandError that names each that refused."""
    listed = list(names)
    answers = await asyncio.gather(*(action(name) for name in listed), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, CommandError):
            raise answer
    refusals = [f"{name}: {answer}" for name, answer in zip(listed, answers, strict=True) if answer is not None]
    if refusals:
        raise CommandError("; ".join(refusals))
