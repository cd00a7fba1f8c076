"""What is set for every worker: enabled or not, its outputs, its folder. The values behind the setpoints.

They start as configured. A worker that is started again gets what was set since, not what the configuration says.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectors.config import Config
from detectors.worker_names import PROCESS, STREAM, WEB, keepers, part_workers
from ioc.roster import Roster
from ioc.templates import PART_STREAMS, detectors, image_streams


class Settings:
    """The settings of all workers but of the HDF5 writer's captures (``ioc.capture``)."""

    def __init__(self, config: Config, roster: Roster) -> None:
        self._detectors = {name: config.detector_of(source) for name, source in roster.sources.items()}
        self.enabled = {name: source.enabled for name, source in roster.sources.items()}
        if config.stream is not None:
            self.enabled |= dict.fromkeys([STREAM, *part_workers(config)], config.stream.enabled)
        for detector in detectors(config):
            if detector.hdf5:
                self.enabled[detector.hdf5] = True
            if config.images and detector.images:
                self.enabled[detector.images] = config.images.enabled
        if config.web is not None:
            self.enabled[WEB] = config.web.enabled
        if config.process is not None:
            self.enabled[PROCESS] = config.process.enabled
        self.enabled |= dict.fromkeys(keepers(config), True)
        outputs = {"zmq": config.zmq.enabled} | ({"disk": config.disk.enabled} if config.disk else {})
        self._configured = {(name, output): on for name in roster.sources for output, on in outputs.items()}
        self._configured |= {(STREAM, output): True for output in image_streams(config)}
        self._configured |= {(worker, output): True for worker in part_workers(config) for output in PART_STREAMS}
        self.outputs = dict(self._configured)
        """Whether an output is on, by worker and name."""
        folders = {name: config.disk_folder(source) for name, source in roster.sources.items()}
        self._configured_folders = {name: str(folder) for name, folder in folders.items() if folder}
        self.folders = dict(self._configured_folders)
        """The root folder of each source, on its host."""
        self.hosts = {name: source.host for name, source in roster.sources.items()}
        """The host of each source; None: that of the IOC."""
        self.roots = config.disk.allowed if config.disk else ()
        """The folders that clients may move records of the IOC's host below."""
        self.host_roots = {source.host: config.disk_roots(source) for source in config.sources if source.host}
        """Those of other hosts, by their names."""
        self._configured_rate_hz = self.reduced_rate_hz = config.stream.reduced_rate_hz if config.stream else 0.0

    def detector_folders(self) -> list[Path]:
        """Return the folders that the sources of the IOC's host write to, one for each detector and root."""
        own = [name for name, host in self.hosts.items() if host is None]
        return sorted({Path(self.folders[name]) / self._detectors[name] for name in own if name in self.folders})

    def adopt(self, worker: str, status: Mapping[str, Any]) -> None:
        """Take over the settings of a worker that ran before this IOC: a restart must not change data taking."""
        self.enabled[worker] = True
        self.outputs |= self._outputs(worker, status)
        folder = _root(status)
        if folder and worker in self.folders:
            self.folders[worker] = folder

    def are_configured(self, worker: str) -> bool:
        """Whether a worker that starts by its configuration has these outputs and this folder."""
        outputs = all(self._configured[key] == on for key, on in self.outputs.items() if key[0] == worker)
        return outputs and self.folders.get(worker) == self._configured_folders.get(worker)

    def missing(self, worker: str, status: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """Return the commands, with their arguments, that a worker with this ``status`` needs to get to the settings."""
        commands: list[tuple[str, dict[str, Any]]] = [
            ("output", {"output": key[1], "enabled": self.outputs[key]})
            for key, on in self._outputs(worker, status).items()
            if self.outputs[key] != on
        ]
        folder = _root(status)
        if folder and self.folders.get(worker, folder) != folder:
            commands.append(("folder", {"folder": self.folders[worker]}))
        if worker == STREAM and self.reduced_rate_hz != self._configured_rate_hz:
            commands.append(("reduced_rate", {"hz": self.reduced_rate_hz}))
        return commands

    def _outputs(self, worker: str, status: Mapping[str, Any]) -> dict[tuple[str, str], bool]:
        """Return the outputs that a worker has by its status, and whether they are on."""
        found = [key for key in self.outputs if key[0] == worker and status.get(key[1], {}).get("name")]
        return {key: bool(status[key[1]]["enabled"]) for key in found}


def _root(status: Mapping[str, Any]) -> str | None:
    """Return the root folder of a worker with a disk; it shows its detector's folder below it."""
    folder = status.get("disk", {}).get("folder")
    return str(Path(folder).parent) if folder else None
