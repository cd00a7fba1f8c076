"""Commands to a worker: one JSON request, one JSON reply, always.

A request is ``{"command": name, "args": {...}, "timeout_s": 2.0}``, a reply ``{"ok": bool, "message": error text, "result": ...}``.
A command that is not answered in time is cancelled: if it has not begun by then, it never does.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, cast

import orjson
import zmq

from detectors.errors import CommandError, HostError, PebbleDaqError

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 2.0
"""A command whose request names no time-out is cancelled after this long, s."""

GRACE_S: Final = 0.5
"""How much longer the client waits than the worker, s: it gets the worker's own words for the time-out."""

MAX_MESSAGE_BYTES: Final = 64 << 20
"""Longest answer or snapshot that is taken from a worker; a longer one counts as none."""

SILENCE_S: Final = 2.0
"""A worker that published no snapshot for so long does not respond, s; it publishes one a second at least."""

_SOCKET_PATH_LIMIT: Final = 107
"""Longest path of a Unix socket, bytes (sun_path less its terminator)."""


class Command:
    """One command: received and answered by the control thread, run by the data thread.

    An action that returns a Future is answered when that is done; it is cancelled with the command unless it runs.
    """

    def __init__(self, name: str, action: Callable[[], Any], timeout_s: float, on_done: Callable[[], None]) -> None:
        self.deadline_s = time.monotonic() + timeout_s
        """By the monotonic clock."""
        self._name, self._action, self._timeout_s = name, action, timeout_s
        self._answer: Future[Any] = Future()
        self._answer.add_done_callback(lambda _: on_done())
        self._later: Future[Any] | None = None

    @property
    def done(self) -> bool:
        """Whether there is an answer."""
        return self._answer.done()

    def run(self) -> None:
        """Run the command, unless it was cancelled."""
        if not self._answer.set_running_or_notify_cancel():
            return
        try:
            result = self._action()
        except Exception as error:  # noqa: BLE001  the caller gets it as the answer
            self._answer.set_exception(error)
            return
        if isinstance(result, Future):
            later = self._later = cast("Future[Any]", result)
            later.add_done_callback(self._take_over)
        else:
            self._answer.set_result(result)

    def expire(self) -> bytes:
        """Cancel the command because its time is over, and return the reply that says so."""
        if self._answer.cancel() or (self._later is not None and self._later.cancel()):
            return failure(f"{self._name}: not answered in {self._timeout_s:g} s, cancelled")
        return failure(f"{self._name}: not finished in {self._timeout_s:g} s; it is still being carried out")

    def reply(self) -> bytes:
        """Return the reply to a command that is done."""
        try:
            return orjson.dumps({"ok": True, "message": "", "result": self._answer.result()})
        except (PebbleDaqError, TypeError, ValueError, OSError) as error:
            return failure(str(error) or type(error).__name__)
        except Exception as error:
            log.exception("command %s failed", self._name)
            return failure(f"{type(error).__name__}: {error}")

    def _take_over(self, result: "Future[Any]") -> None:
        if result.cancelled():
            self._answer.set_exception(CommandError(f"{self._name}: cancelled"))
        elif (error := result.exception()) is not None:
            self._answer.set_exception(error)
        else:
            self._answer.set_result(result.result())


def failure(message: str) -> bytes:
    """Return the reply to a command that was refused or failed."""
    return orjson.dumps({"ok": False, "message": message, "result": None})


def parse(message: bytes) -> tuple[str, dict[str, Any], float]:
    """Return name, arguments and time-out of a request. Raises CommandError when it is none."""
    try:
        request: dict[str, Any] = orjson.loads(message)
        name, arguments = request["command"], request.get("args", {})
        timeout_s = float(request.get("timeout_s", TIMEOUT_S))
    except (ValueError, KeyError, TypeError, AttributeError):
        name = arguments = timeout_s = None
    if not (isinstance(name, str) and isinstance(arguments, dict) and timeout_s is not None and timeout_s > 0):
        raise CommandError(f'found {message[:80]!r}, expected {{"command": name, "args": {{...}}}}')
    return name, cast("dict[str, Any]", arguments), timeout_s


def encode(command: str, timeout_s: float, args: dict[str, Any]) -> bytes:
    """Return a request."""
    return orjson.dumps({"command": command, "args": args, "timeout_s": timeout_s})


def decode(reply: bytes) -> Any:
    """Return the result in a reply. Raises CommandError with the worker's error text."""
    answer = orjson.loads(reply)
    if not answer["ok"]:
        raise CommandError(answer["message"])
    return answer["result"]


def request(address: str, command: str, timeout_s: float = 1.0, **args: Any) -> Any:
    """Send a command to a worker and return its result.

    Raises CommandError when it refuses, or does not answer within ``timeout_s``.
    """
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.maxmsgsize = MAX_MESSAGE_BYTES
        socket.connect(address)
        socket.send(encode(command, timeout_s, args))
        if not socket.poll(round((timeout_s + GRACE_S) * 1000)):
            raise CommandError(f"{command}: no answer from {address} within {timeout_s:g} s; is the worker running?")
        return decode(socket.recv())


def check_address(address: str) -> str:
    """Return the address; raise HostError when its socket path is too long for the kernel."""
    if len(address.removeprefix("ipc://").encode()) > _SOCKET_PATH_LIMIT:
        raise HostError(f"{address}: longer than {_SOCKET_PATH_LIMIT} bytes; set XDG_RUNTIME_DIR to a shorter folder")
    return address
