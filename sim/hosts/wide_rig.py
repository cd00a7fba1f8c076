"""The wide detector at work: its hosts with their workers, started as a service manager would, and clients on a host of their own."""

import random
import string
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from detectors.curve import make_keys
from sim.console import Console
from sim.hosts.namespaces import HostLink, HostProcess, SimulatedHosts
from sim.hosts.wide import HOSTS, MODULES, PACKETS, REDUCED_PORT, SHAPE, host_of, modules_of, port_of, write_wide
from sim.waiting import until

START_S: Final = 100.0
"""So many workers at once, on a machine that may be busy."""
CONTROL, FAR = "ctl", "far"
"""Hosts for the IOC: the second is reached over a link with delay and loss."""
DETECTOR, DESK = "detector", "desk"


class WideRig:
    """Context manager. ``folder`` gets the configuration and the keys."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self.pulses: list[int] = []
        """Pulses that were sent to be taken."""
        self._sent = 0

    def __enter__(self) -> Self:
        with self._stack:
            self.hosts = self._stack.enter_context(
                SimulatedHosts(*HOSTS, DETECTOR, DESK, CONTROL, FAR, links={FAR: HostLink(0.05, 0.01)})
            )
            make_keys(self._folder / "keys", "server")
            self.prefix = "T" + "".join(random.choices(string.ascii_uppercase, k=8)) + ":"  # noqa: S311
            self.path = write_wide(self.hosts, self._folder, self.prefix)
            self.receivers = {module: self.start(host_of(module), "receive", module) for module in MODULES}
            others = [self.start(name, command, name) for name in HOSTS for command in ("keeper", "stream")]
            self.stream = self.start(HOSTS[0], "stream")
            for worker in (*self.receivers.values(), *others, self.stream):
                worker.ready()
            self._workers = {name: self._child(name, "sim.hosts.worker_console", self.prefix) for name in HOSTS}
            addresses = [f"{self.hosts[host_of(module)].address}:{port_of(module)}" for module in MODULES]
            self._detector = self._child(DETECTOR, "sim.hosts.wide_detector", *addresses)
            reduced = f"tcp://{self.hosts[HOSTS[0]].address}:{REDUCED_PORT}"
            keys, rows = str(self._folder / "keys"), str(SHAPE[0])
            self._images = self._child(DESK, "sim.hosts.image_console", reduced, keys, rows)
            for name in HOSTS:
                until(partial(self._part, name), lambda part: part["reduced"]["subscribers"])
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, host: str, command: str, *words: str) -> HostProcess:
        """Start a command of pebbledaq with the configuration on a host; it ends with the rig."""
        process = self.hosts[host].start("-m", "ioc", command, str(self.path), *words, timeout_s=START_S)
        return self._stack.enter_context(process)

    def start_ioc(self, host: str) -> HostProcess:
        """Start the IOC on a host, and a client of it on another."""
        ioc = self.start(host, "run").ready()
        self._records = self._child(DESK, "sim.hosts.pva_console")
        return ioc

    def values(self, *records: str) -> dict[str, Any]:
        """Return the values of records, by name without the prefix; an enum as its text."""
        found = self._records.ask("get", names=[self.prefix + name for name in records])
        return {name.removeprefix(self.prefix): value for name, value in found.items()}

    def put(self, record: str, value: Any) -> None:
        """Write a record, and wait for the end of what that starts."""
        self._records.ask("put", name=self.prefix + record, value=value)

    def until_all(self, record: str, good: Callable[[Any], bool], modules: Sequence[str] = MODULES) -> None:
        """Wait until this record of each module has a good value."""
        names = [f"{module}:{record}" for module in modules]
        until(lambda: self.values(*names), lambda found: all(map(good, found.values())), START_S)

    def send(self, frames: int, *, refused: bool = False, rate_hz: float = 10.0) -> None:
        """Begin to send frames of all modules; ``refused``: while data taking is stopped."""
        self._detector.ask("send", frames=frames, rate_hz=rate_hz, first_pulse=self._sent + 1)
        if not refused:
            self.pulses += range(self._sent + 1, self._sent + frames + 1)
        self._sent += frames

    def wait_sent(self) -> None:
        """Wait until all frames are sent, every packet of them."""
        reports = self._detector.ask("sent")["modules"]
        assert all(module["packets"] == module["frames"] * PACKETS for module in reports)

    def status(self, host: str) -> dict[str, Any]:
        """Return the snapshots of the receivers of a host, by module."""
        names = {f"udp.{module}": module for module in modules_of(host)}
        found = self._workers[host].ask("status", workers=list(names))
        return {names[worker]: status for worker, status in found.items()}

    def until_written(self, host: str, good: Callable[[int], bool]) -> dict[str, Any]:
        """Wait until the number of frames that each module of a host has written is as it should be; return the snapshots."""
        return until(lambda: self.status(host), lambda found: all(good(s["disk"]["written"]) for s in found.values()))

    def images(self) -> dict[int, tuple[bool, list[int]]]:
        """Whether each image is good, and its right modules, by pulse_id, when the last has come."""
        found = self._images.ask("images", last_pulse=self.pulses[-1])["images"]
        return {pulse: (good, right) for pulse, good, right in found}

    def _part(self, host: str) -> Any:
        """Return the snapshot of the part of the images that is made on a host."""
        worker = f"parts.{host}"
        return self._workers[host].ask("status", workers=[worker])[worker]

    def _child(self, host: str, module: str, *words: str) -> Console:
        return self._stack.enter_context(self.hosts[host].child(module, *words))
