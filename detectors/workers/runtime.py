"""What every worker has in common, written once: its threads, snapshots, commands, signals and end.

A worker is a part put into ``run_worker``. Its data is handled on the main thread, which never waits for anything but data;
the control thread (``ControlThread``) talks to the rest of the world, and outputs have threads of their own.
"""

import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any, Final, Protocol

from detectors.buffer.registration import software_version
from detectors.config import Config
from detectors.hosts import Endpoint, endpoint
from detectors.runtime_names import RuntimeNames
from detectors.stats import WorkerStatus
from detectors.workers.account import Account
from detectors.workers.commands import Command
from detectors.workers.control_thread import STOPPING, ControlThread
from detectors.workers.lock import hold_lock
from detectors.workers.service import ServiceNotifier
from detectors.workers.tuning import QuietCollector
from detectors.workers.wake import Wake

log = logging.getLogger(__name__)

BUSY_S: Final = 0.2
"""Interval of snapshots while data comes, s: each takes time from it."""

IDLE_S: Final = 0.5
"""Interval of snapshots while nothing comes but something changes, s; a part that looks at something by itself does so as often."""

QUIET_S: Final = 0.9
"""Interval of snapshots while they stay the same, and the longest that a part need wait, s. Shorter than ``control_thread.REPEAT_S``:
or the control thread would wake to repeat the last one."""


class Part(Protocol):
    """What a worker does. All methods are called on one thread, the data thread."""

    name: str
    """Name of the worker: ``udp.M00``."""

    @property
    def empty(self) -> WorkerStatus:
        """The snapshot that is shown while ``open`` runs."""
        ...

    @property
    def commands(self) -> Mapping[str, Callable[..., Any]]:
        """The commands by name; their arguments are keywords. Called between two steps.

        One that takes its time returns a Future; the thread that works on it calls ``set_running_or_notify_cancel`` when it begins,
        since the command is cancelled when its time is over.
        """
        ...

    @property
    def blocks(self) -> Mapping[str, Sequence[str]]:
        """The blocks of the counters page that it writes itself, by name, each with the names of its values.

        All other counters are written with each snapshot.
        """
        ...

    def open(self, stack: ExitStack, wake: Wake, account: Account) -> str:
        """Take what the worker needs, which ``stack`` gives back; return what the READY line says after the name.

        ``account`` has its blocks of the counters page, and what the life before left in them.
        ``wake`` is what the data thread waits on between steps: ``watch`` the descriptors that data comes by, or ``ring`` it
        from the threads that bring data. Raises HostError or another PebbleDaqError.
        """
        ...

    def step(self) -> float:
        """Take all that is there. Return how long to wait if nothing comes, s; 0: do not wait, there is more."""
        ...

    def snapshot(self) -> WorkerStatus:
        """Return what there is to know, counted in this life; of the head only state and message."""
        ...

    def finish(self, deadline_s: float) -> None:
        """Settle what has come. What is still queued at ``deadline_s`` (monotonic, s) is dropped and counted."""
        ...


def run_worker(part: Part, config: Config) -> int:
    """Run a worker of a configuration as ``run_part`` does; return its exit code. For the main thread."""
    run_part(part, config.runtime_names, config.run.drain_s, endpoint(config, part.name))
    return 0


def run_part(part: Part, runtime: RuntimeNames, drain_s: float, network: Endpoint | None = None) -> None:
    """Run a part until a signal, or the command ``stop``. For the main thread.

    What is queued then is settled for ``drain_s`` at most. With ``network`` it is commanded and heard from other hosts, too.
    Raises HostError when the worker runs already, and what the part raises.
    """
    with hold_lock(runtime, part.name):
        _Worker(part, runtime, drain_s, Account(runtime.counters(part.name), part.empty, part.blocks), network).run()


class _Worker:
    """The data thread of a worker."""

    def __init__(
        self, part: Part, runtime: RuntimeNames, drain_s: float, account: Account, network: Endpoint | None
    ) -> None:
        self._part = part
        self._account = account
        self._drain_s = drain_s
        self._version = software_version()
        self._latest = self._with_head(account.show(part.empty))
        self._counted: WorkerStatus | None = None
        """The last snapshot as the part gave it; None when its totals are others since."""
        self._changed = False
        """Whether it differs from the one before."""
        self._stopping = False
        self._service = ServiceNotifier.take()
        self._wake = Wake()
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        handlers = {**part.commands, "reset_counters": self._reset_counters, "status": self._status}
        self._control = ControlThread(
            runtime, self._latest, handlers, submit=self._submit, stop=self._stop, drain_s=drain_s, network=network
        )

    def run(self) -> None:
        """Open the part, run it until it is to stop, and close it."""
        with ExitStack() as stack:
            stack.callback(self._wake.close)
            stack.enter_context(self._control)
            stack.enter_context(_on_signal(self._stop))
            parts = stack.enter_context(ExitStack())
            opened = False
            try:
                ready = self._part.open(parts, self._wake, self._account)
                opened = True
                collector = QuietCollector()
                parts.callback(collector.close)
                self._control.refusal = ""
                print(f"READY {self._part.name} {ready}".rstrip(), flush=True)  # noqa: T201  supervisors wait for this line
                self._service.ready()
                self._loop(collector)
                self._control.refusal = STOPPING
                self._service.stopping()
                self._part.finish(time.monotonic() + self._drain_s)
                self._publish(self._taken(), state="Stopped")
            except BaseException as error:
                last = self._taken() if opened else self._latest
                self._publish(last, state="Failed", message=str(error) or type(error).__name__)
                raise

    def _loop(self, collector: QuietCollector) -> None:
        step, commands, monotonic = self._part.step, self._commands, time.monotonic
        taken_s, fresh, pause_s = 0.0, False, IDLE_S
        while not self._stopping:
            idle_s = step()
            if not idle_s:
                fresh = True
            if not commands.empty():  # one at a time: a flood of them does not hold up data
                commands.get().run()
                taken_s = 0.0
            now = monotonic()
            left_s = taken_s + (BUSY_S if fresh else pause_s) - now
            if left_s <= 0:
                self._publish(self._taken())
                self._service.alive()
                collector.look(now, quiet=idle_s > 0)
                taken_s, fresh = now, False
                left_s = pause_s = IDLE_S if self._changed else QUIET_S
            if idle_s and commands.empty() and not self._stopping:
                self._wake.wait(min(idle_s, left_s))

    def _stop(self) -> None:
        self._stopping = True
        self._wake.ring()

    def _submit(self, command: Command) -> None:
        self._commands.put(command)
        self._wake.ring()

    def _status(self) -> WorkerStatus:
        self._latest = self._taken()
        return self._latest

    def _reset_counters(self) -> None:
        """Let all totals begin at 0 again."""
        self._account.reset(self._part.snapshot())
        self._counted = None

    def _taken(self) -> WorkerStatus:
        """Return a new snapshot; the last one when the part fails to give it."""
        try:
            snapshot = self._part.snapshot()
            self._changed = snapshot != self._counted
            if self._changed:
                taken = self._with_head(self._account.enter(snapshot))
            else:
                taken = replace(self._latest, time_ns=time.time_ns())
        except Exception:  # a mistake in a snapshot must not end the data
            log.exception("snapshot failed")
            return self._latest
        self._counted = snapshot
        return taken

    def _with_head(self, snapshot: WorkerStatus) -> WorkerStatus:
        return replace(snapshot, worker=self._part.name, pid=os.getpid(), time_ns=time.time_ns(), version=self._version)

    def _publish(self, snapshot: WorkerStatus, **head: str) -> None:
        self._latest = replace(snapshot, **head) if head else snapshot
        self._control.publish(self._latest)


@contextmanager
def _on_signal(stop: Callable[[], None]) -> Generator[None]:
    """Call ``stop`` on SIGTERM and SIGINT. It runs on the main thread, between any two operations: it must take no lock."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
