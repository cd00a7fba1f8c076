"""A worker's part without data, for tests of what all workers share."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from detectors.hosts import Endpoint
from detectors.runtime_names import RuntimeNames
from detectors.stats import ReceiverStatus
from detectors.workers.account import Account
from detectors.workers.commands import request
from detectors.workers.runtime import run_part
from detectors.workers.wake import Wake
from tests.support.waiting import until


class FakePart:
    """``status`` is what it publishes; ``commands`` may be any; it does nothing else."""

    blocks: Mapping[str, Sequence[str]] = {}
    empty = ReceiverStatus()

    def __init__(self, name: str = "udp.M00", **commands: Callable[..., Any]) -> None:
        self.name = name
        self.commands: Mapping[str, Callable[..., Any]] = commands
        self.status = ReceiverStatus(state="Idle")
        self.steps = 0
        self.idle_s = 10.0
        self.opened = threading.Event()

    def open(self, stack: ExitStack, wake: Wake, account: Account) -> str:
        stack.callback(self.opened.clear)
        self.wake = wake
        self.opened.set()
        return "here"

    def step(self) -> float:
        self.steps += 1
        return self.idle_s

    def snapshot(self) -> ReceiverStatus:
        return self.status

    def finish(self, deadline_s: float) -> None:
        pass


@contextmanager
def running(part: FakePart, runtime: RuntimeNames, network: Endpoint | None = None) -> Iterator[str]:
    """Run a worker on a thread, of a host at ``network`` if any, and yield the address of its commands."""
    thread = threading.Thread(target=run_part, args=(part, runtime, 5.0, network), daemon=True)
    thread.start()
    assert part.opened.wait(20)
    until(lambda: request(runtime.command(part.name), "status", 20.0)["state"] != "Starting")
    try:
        yield runtime.command(part.name)
    finally:
        request(runtime.command(part.name), "stop", 20.0)
        thread.join(20)
        assert not thread.is_alive()
