"""A worker without data: lock, snapshots and commands as a real one has, counters as a test sets them."""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from typing import Any

from detectors.config import load_config
from detectors.errors import CommandError
from detectors.hosts import endpoint
from detectors.run_state import RunState, Service, next_state
from detectors.runtime_names import RuntimeNames
from detectors.stats import MonitorStatus, OutputStats, ReceiverStatus
from detectors.workers.account import Account
from detectors.workers.runtime import run_part
from detectors.workers.wake import Wake


class FakeWorker:
    """``refuse`` names transitions that it refuses; ``set`` changes any field of its snapshot by dotted name."""

    blocks: Mapping[str, Sequence[str]] = {}

    def __init__(self, worker: str, state: RunState, folder: str) -> None:
        kind = ReceiverStatus if worker.startswith("udp.") else MonitorStatus
        self.state = state
        self.refused: set[str] = set()
        self.holding = False
        self.held: list[tuple[str, Future[None]]] = []
        self.name = worker
        self.deaf = False
        self.empty = kind()
        self.status: Any = kind(
            state="Receiving",
            run_state=state.label,
            disk=OutputStats(name="disk", enabled=True, state="Idle", folder=folder),
            zmq=OutputStats(name="zmq", enabled=True, state="Idle"),
        )

    def snapshot(self) -> Any:
        return dataclasses.replace(self.status, time_ns=time.time_ns())

    @property
    def commands(self) -> dict[str, Callable[..., Any]]:
        names = ("transition", "output", "folder", "set", "refuse", "hold", "let_go")
        return {name: getattr(self, name) for name in names}

    def open(self, stack: ExitStack, wake: Wake, account: Account) -> str:
        return ""

    def step(self) -> float:
        return 1.0

    def finish(self, deadline_s: float) -> None:
        while self.deaf:
            time.sleep(1)

    def transition(self, service: str) -> "Future[None] | None":
        if service in self.refused:
            raise CommandError(f"{service} is not wanted")
        if self.holding:
            answer: Future[None] = Future()
            self.held.append((service, answer))
            return answer
        return self._do(service)

    def hold(self) -> None:
        """Take one's time over transitions, until told to let go."""
        self.holding = True

    def let_go(self) -> None:
        self.holding = False
        for service, answer in self.held:
            answer.set_result(self._do(service))
        self.held.clear()

    def _do(self, service: str) -> None:
        self.state = next_state(self.state, next(s for s in Service if s.label == service))
        self.set(run_state=self.state.label)

    def output(self, output: str, enabled: bool) -> None:
        self.set(**{f"{output}.enabled": enabled, f"{output}.state": "Idle" if enabled else "Off"})

    def folder(self, folder: str) -> None:
        if folder == "/tmp/unwritable":
            raise CommandError(f"{folder}: cannot be written")
        self.set(**{"disk.folder": f"{folder}/DET"})

    def set(self, **fields: Any) -> None:
        for name, value in fields.items():
            self.status = _replaced(self.status, name.split("."), value)

    def refuse(self, services: list[str]) -> None:
        self.refused = set(services)


def _replaced(status: Any, path: list[str], value: Any) -> Any:
    if len(path) > 1:
        value = _replaced(getattr(status, path[0]), path[1:], value)
    return dataclasses.replace(status, **{path[0]: value})


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("prefix")
    parser.add_argument("worker")
    parser.add_argument("folder")
    parser.add_argument("--state", default="enabled")
    parser.add_argument("--exit-code", type=int)
    parser.add_argument("--config", help="The configuration, for a worker of another host than the IOC's.")
    parser.add_argument("--deaf", action="store_true", help="Does not end on SIGTERM.")
    options = parser.parse_args()
    if options.exit_code is not None:
        print("pebbledaq: it cannot be done", file=sys.stderr)  # noqa: T201
        return options.exit_code
    fake = FakeWorker(options.worker, RunState[options.state.upper()], options.folder)
    fake.deaf = options.deaf
    network = endpoint(load_config(options.config), options.worker) if options.config else None
    run_part(fake, RuntimeNames(options.prefix), 3600.0 if options.deaf else 1.0, network)
    return 0


if __name__ == "__main__":
    sys.exit(main())
