"""What every worker has in common: one lock, one stop flag, snapshots out, commands in.

A worker runs its data path on the main thread and this on a thread of its own, so that a slow reader of snapshots or a
flood of commands never holds up data.
"""

import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import zmq

from detectors.errors import CommandError, PebbleDaqError
from detectors.runtime import Runtime
from detectors.stats import to_json
from detectors.workers.commands import check_address
from detectors.workers.lock import hold_lock

log = logging.getLogger(__name__)

SNAPSHOT_PERIOD_S = 0.1
"""Snapshots are published this often, s, if there is a new one: screens are no faster."""

REPEAT_S = 0.5
"""One that stands is published again after so long, s, for those who have just come."""

_ANSWER_PERIOD_S = 0.005
"""Answers that take their time are looked for this often, s."""

_LAST_WORDS_LINGER_MS = 200


@dataclass(frozen=True, slots=True)
class _Awaited:
    """A command whose answer takes its time."""

    envelope: list[bytes]
    """Frames that lead the answer to the one who asked."""
    command: str
    result: "Future[Any]"


class Control:
    """Context manager around a worker's life: lock, signals, snapshots and commands.

    ``snapshot`` returns the present snapshot (a dataclass of ``detectors.stats``) and is called on the control thread;
    ``handlers`` are called there too, with the command's arguments as keywords; one that returns a Future is answered
    when that is done, and snapshots and other commands go on meanwhile. Entering it raises HostError when the worker runs already.
    """

    def __init__(
        self,
        runtime: Runtime,
        worker: str,
        snapshot: Callable[[], Any],
        handlers: Mapping[str, Callable[..., Any]],
        stop: threading.Event | None = None,
    ) -> None:
        self.stop = stop or threading.Event()
        """Set by the command ``stop``, and within a snapshot period by SIGTERM and SIGINT."""
        self._signalled = False
        self._runtime = runtime
        self._worker = worker
        self._snapshot = snapshot
        self._handlers = {"stop": self.stop.set, "status": self._status, **handlers}
        self._lock = hold_lock(runtime, worker)
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._finish = threading.Event()
        self._awaited: list[_Awaited] = []
        self._published: Any = None
        self._repeat_at = 0.0
        self._old_signals: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._lock.__enter__()
        try:
            self._context = zmq.Context()
            self._status_socket = self._bind(zmq.PUB, self._runtime.status(self._worker))
            self._command_socket = self._bind(zmq.ROUTER, self._runtime.command(self._worker))
            self._status_socket.linger = self._command_socket.linger = _LAST_WORDS_LINGER_MS
        except BaseException:
            self._context.destroy(linger=0)
            self._lock.__exit__(None, None, None)
            raise
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._old_signals[number] = signal.signal(number, self._on_signal)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._finish.set()
        self._thread.join()
        self._context.term()
        for address in (self._runtime.status(self._worker), self._runtime.command(self._worker)):
            with suppress(FileNotFoundError):
                Path(address.removeprefix("ipc://")).unlink()
        for number, handler in self._old_signals.items():
            signal.signal(number, handler)
        self._lock.__exit__(kind, error, traceback)

    def _bind(self, kind: int, address: str) -> zmq.Socket[bytes]:
        check_address(address)
        socket = self._context.socket(kind)
        socket.linger = 0
        socket.bind(address)
        return socket

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        # Not stop.set(): this runs on the main thread, which may be inside stop.wait() with the event's lock held.
        self._signalled = True

    def _status(self) -> Any:
        return json.loads(to_json(self._snapshot()))

    def _serve(self) -> None:
        due_s = time.monotonic()
        try:
            while not self._finish.is_set():
                if self._signalled:
                    self.stop.set()
                wait_s = min(due_s - time.monotonic(), _ANSWER_PERIOD_S if self._awaited else SNAPSHOT_PERIOD_S)
                if self._command_socket.poll(max(0, round(wait_s * 1000))):
                    self._take_command()
                self._answer()
                if time.monotonic() >= due_s:
                    self._publish()
                    due_s = time.monotonic() + SNAPSHOT_PERIOD_S
            self._answer()
            for awaited in self._awaited:
                self._send(awaited, _reply(ok=False, message="the worker is stopping"))
            self._publish(last=True)
        finally:
            self._status_socket.close()
            self._command_socket.close()

    def _publish(self, *, last: bool = False) -> None:
        try:
            snapshot, now = self._snapshot(), time.monotonic()
            if snapshot is self._published and now < self._repeat_at and not last:
                return
            self._status_socket.send(to_json(snapshot))
            self._published, self._repeat_at = snapshot, now + REPEAT_S
        except Exception:  # a snapshot that fails must not end the commands with it
            log.exception("snapshot failed")

    def _take_command(self) -> None:
        *envelope, message = self._command_socket.recv_multipart()
        try:
            request = json.loads(message)
            name, arguments = request["command"], request.get("args", {})
            handler = self._handlers[name]
        except (ValueError, KeyError, TypeError):
            known = ", ".join(sorted(self._handlers))
            error = CommandError(f"found {message[:80]!r}, expected a command of: {known}")
            self._awaited.append(_Awaited(envelope, "", _failed(error)))
            return
        self._awaited.append(_Awaited(envelope, name, _begin(handler, arguments)))

    def _answer(self) -> None:
        """Send the answers that there are."""
        for awaited in [a for a in self._awaited if a.result.done()]:
            self._awaited.remove(awaited)
            self._send(awaited, _outcome(awaited))

    def _send(self, awaited: _Awaited, reply: bytes) -> None:
        self._command_socket.send_multipart([*awaited.envelope, reply])


def _begin(handler: Callable[..., Any], arguments: Any) -> "Future[Any]":
    """Do a command; the Future has its result, at once or later."""
    try:
        result = handler(**arguments)
    except Exception as error:  # noqa: BLE001  told to the one who asked, and a fault of ours to the log
        return _failed(error)
    if isinstance(result, Future):
        return result
    done: Future[Any] = Future()
    done.set_result(result)
    return done


def _failed(error: Exception) -> "Future[Any]":
    failed: Future[Any] = Future()
    failed.set_exception(error)
    return failed


def _outcome(awaited: _Awaited) -> bytes:
    """Return the reply to a command that is done."""
    try:
        return _reply(ok=True, result=awaited.result.result())
    except (PebbleDaqError, TypeError, ValueError, OSError) as error:
        return _reply(ok=False, message=str(error))
    except Exception as error:
        log.exception("command %s failed", awaited.command)
        return _reply(ok=False, message=f"{type(error).__name__}: {error}")


def _reply(*, ok: bool, message: str = "", result: Any = None) -> bytes:
    return json.dumps({"ok": ok, "message": message, "result": result}).encode()
