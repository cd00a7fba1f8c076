"""The control thread of a worker: commands in, replies and snapshots out, and the end of a process that cannot end itself.

It never runs a command, so that it can always answer, and it never touches a file system.
"""

import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import zmq

from detectors.errors import CommandError
from detectors.hosts import Endpoint
from detectors.runtime_names import RuntimeNames
from detectors.stats import WorkerStatus, to_json
from detectors.workers.commands import Command, check_address, failure, parse
from detectors.workers.host_clock import read_clock
from detectors.workers.network_control import NetworkControl
from detectors.workers.wake import Wake

log = logging.getLogger(__name__)

REPEAT_S: Final = 1.0
"""The last snapshot is published again after so long, s: for subscribers that have just come."""

KILLED: Final = 70
"""Exit code of a worker that did not end within its drain time."""

MARGIN_S: Final = 0.5
"""How much longer than its drain time a worker may take to free everything, s."""

STOPPING: Final = "stopping"
_MOST_PENDING: Final = 100
_LARGEST_REQUEST: Final = 1 << 20
_LINGER_MS: Final = 200


class ControlThread:
    """Context manager around a worker's life; ``publish`` is for the data thread.

    ``handlers`` are the commands by name; ``submit`` hands one to the data thread, and ``stop`` asks the worker to stop.
    When the process is not gone ``drain_s`` and a margin after a signal or the command ``stop``, it is ended here.
    With ``network`` the same is to be had over tcp, by clients that have the keys. Raises HostError when that cannot be bound,
    ConfigError without keys.
    """

    def __init__(
        self,
        runtime: RuntimeNames,
        first: WorkerStatus,
        handlers: Mapping[str, Callable[..., Any]],
        *,
        submit: Callable[[Command], None],
        stop: Callable[[], None],
        drain_s: float,
        network: Endpoint | None = None,
    ) -> None:
        self._endpoint = network
        self._network: NetworkControl | None = None
        self._addresses = [check_address(f(first.worker)) for f in (runtime.status, runtime.command)]
        self._handlers = handlers
        self._submit, self._stop = submit, stop
        self._drain_s = drain_s
        self.refusal = "still starting; try again"
        """Why commands are refused; empty while the data thread takes them. Set by it."""
        self._latest = first
        self._published: WorkerStatus | None = None
        self._repeat_at = 0.0
        self._pending: list[tuple[list[bytes], Command]] = []
        self._wake = Wake()
        self._signals: tuple[int, int] | None = None
        self._end_at = float("inf")
        self._finished = False
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)

    def __enter__(self) -> Self:
        self._context = zmq.Context()
        try:
            self._status_socket = self._bind(zmq.PUB, self._addresses[0])
            self._command_socket = self._bind(zmq.ROUTER, self._addresses[1])
            if self._endpoint:
                self._network = NetworkControl(self._context, self._endpoint)
                self._network.bind(self._status_socket, self._command_socket)
        except BaseException:
            self._leave_network()
            self._context.destroy(linger=0)
            self._wake.close()
            raise
        self._poller = zmq.Poller()
        for readable in (self._command_socket, self._wake):
            self._poller.register(readable, zmq.POLLIN)
        if threading.current_thread() is threading.main_thread():
            # Written to by the interpreter's own handler: a signal is seen here also while the main thread is stuck.
            self._signals = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            self._poller.register(self._signals[0], zmq.POLLIN)
            signal.set_wakeup_fd(self._signals[1], warn_on_full_buffer=False)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._finished = True
        self._wake.ring()
        self._thread.join()
        self._leave_network()
        self._context.term()
        if self._signals:
            signal.set_wakeup_fd(-1)
            for descriptor in self._signals:
                os.close(descriptor)
        self._wake.close()
        for address in self._addresses:
            with suppress(FileNotFoundError):
                Path(address.removeprefix("ipc://")).unlink()

    def publish(self, snapshot: WorkerStatus) -> None:
        """Publish a snapshot; never waits."""
        self._latest = snapshot
        self._wake.ring()

    def _bind(self, kind: int, address: str) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.linger = _LINGER_MS
        socket.maxmsgsize = _LARGEST_REQUEST
        socket.bind(address)
        return socket

    def _leave_network(self) -> None:
        if self._network:
            self._network.close()

    def _serve(self) -> None:
        try:
            while not self._finished:
                readable = dict(self._poller.poll(self._patience_ms()))
                if self._command_socket in readable:
                    self._take_command()
                self._wake.clear()
                if self._signals and self._signals[0] in readable:
                    os.read(self._signals[0], 100)
                    self._limit_life()
                self._answer()
                self._publish()
                if time.monotonic() >= self._end_at:
                    self._end_process()
            self._close_down(f"the worker is {STOPPING}")
        finally:
            self._status_socket.close()
            self._command_socket.close()

    def _patience_ms(self) -> int:
        deadline_s = min([self._repeat_at, self._end_at, *(command.deadline_s for _, command in self._pending)])
        return max(0, math.ceil((deadline_s - time.monotonic()) * 1000))

    def _take_command(self) -> None:
        *envelope, message = self._command_socket.recv_multipart()
        try:
            command = self._accept(*parse(message))
        except CommandError as error:
            self._command_socket.send_multipart([*envelope, failure(str(error))])
        else:
            self._pending.append((envelope, command))

    def _accept(self, name: str, arguments: dict[str, Any], timeout_s: float) -> Command:
        """Return a command that has been handed on. Raises CommandError when it is refused."""
        own: dict[str, Callable[[], Any]] = {"clock": read_clock, "stop": self._begin_stop}
        if self.refusal:
            own["status"] = lambda: self._latest
        if name in own:
            command = Command(name, own[name], timeout_s, self._wake.ring)
            command.run()
            return command
        if name not in self._handlers:
            known = ", ".join(sorted({*self._handlers, *own}))
            raise CommandError(f"found the command {name!r}, expected one of: {known}")
        if self.refusal:
            raise CommandError(f"{name}: the worker is {self.refusal}")
        if len(self._pending) >= _MOST_PENDING:
            raise CommandError(f"{name}: {_MOST_PENDING} commands are waiting already")
        command = Command(name, partial(self._handlers[name], **arguments), timeout_s, self._wake.ring)
        self._submit(command)
        return command

    def _begin_stop(self) -> None:
        self._limit_life()
        self._stop()

    def _limit_life(self) -> None:
        self._end_at = min(self._end_at, time.monotonic() + self._drain_s + MARGIN_S)

    def _answer(self) -> None:
        """Send the replies that there are, and those to commands whose time is over."""
        now = time.monotonic()
        waiting: list[tuple[list[bytes], Command]] = []
        for envelope, command in self._pending:
            if command.done:
                self._command_socket.send_multipart([*envelope, command.reply()])
            elif now >= command.deadline_s:
                self._command_socket.send_multipart([*envelope, command.expire()])
            else:
                waiting.append((envelope, command))
        self._pending = waiting

    def _publish(self) -> None:
        snapshot, now = self._latest, time.monotonic()
        if snapshot is not self._published or now >= self._repeat_at:
            self._status_socket.send(to_json(snapshot))
            self._published, self._repeat_at = snapshot, now + REPEAT_S

    def _close_down(self, reason: str) -> None:
        self._answer()
        for envelope, _ in self._pending:
            self._command_socket.send_multipart([*envelope, failure(reason)])
        self._publish()

    def _end_process(self) -> None:
        """End a process whose main thread is stuck; the lock goes with it, the rest is removed by the next start."""
        message = f"did not stop within {self._drain_s + MARGIN_S:g} s: ended; what was queued is lost"
        log.error(message)
        self._latest = replace(self._latest, state="Failed", message=message)
        self._close_down(message)
        self._status_socket.close()
        self._command_socket.close()
        time.sleep(_LINGER_MS / 1000)  # ZMQ's own thread sends what was said last
        os._exit(KILLED)
