"""Commands to workers, without holding up the IOC's event loop."""

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import zmq
import zmq.asyncio

from detectors.curve import load_client
from detectors.errors import CommandError
from detectors.hosts import Reach
from detectors.workers.commands import GRACE_S, MAX_MESSAGE_BYTES, decode, encode
from ioc.roster import Roster

_LOOK_MS: Final = 250
"""While an answer is waited for, the worker is checked this often, ms."""

NETWORK_GRACE_S: Final = 5.0
"""How much longer than the worker the client waits over a network, s: a lossy one takes seconds for a connection."""

HANGS_S: Final = 10.0
"""A worker at work on a command that sent no snapshot for so long will not answer any more, s."""


class NoAnswerError(CommandError):
    """A worker did not answer in time: it may have died, or hang."""


async def ask(
    context: zmq.asyncio.Context,
    worker: Reach,
    command: str,
    *,
    timeout_s: float = 2.0,
    alive: Callable[[], bool] = lambda: True,
    **args: Any,
) -> Any:
    """Send a command to a worker and return its result.

    Raises CommandError when it refuses, NoAnswerError when it does not answer within ``timeout_s``, or is no longer
    ``alive``.
    """
    grace_s = NETWORK_GRACE_S if worker.keys else GRACE_S
    with connect(context, worker) as socket:
        try:
            async with asyncio.timeout(timeout_s + grace_s):
                await socket.send(encode(command, timeout_s, args))
                while not await socket.poll(_LOOK_MS):
                    if not alive():
                        raise NoAnswerError(f"{command}: the worker ended, or hangs, before it answered")
                reply = await socket.recv()
        except TimeoutError:
            raise NoAnswerError(f"{command}: no answer within {timeout_s:g} s") from None
    return decode(reply)


def connect(context: zmq.asyncio.Context, worker: Reach) -> zmq.asyncio.Socket:
    """Return a socket for commands to a worker. Raises ConfigError when its keys cannot be read."""
    socket = context.socket(zmq.REQ)
    socket.linger = 0
    socket.maxmsgsize = MAX_MESSAGE_BYTES
    if worker.keys:
        load_client(worker.keys).use(socket)
    socket.connect(worker.command)
    return socket


class Link:
    """Commands to the workers of one server."""

    def __init__(self, context: zmq.asyncio.Context, reaches: Mapping[str, Reach], roster: Roster) -> None:
        self._context = context
        self._reaches = reaches
        self._roster = roster

    def connect(self, worker: str) -> zmq.asyncio.Socket:
        """Return a socket for commands to a worker."""
        return connect(self._context, self._reaches[worker])

    async def ask(self, worker: str, command: str, **args: Any) -> Any:
        """Command a worker; see ``ask``. The wait ends when its process does, or sends no snapshots any more."""
        self._roster.commands[worker] += 1
        answered = True
        try:
            alive = partial(self._is_alive, worker, self._roster.processes[worker].pid)
            return await ask(self._context, self._reaches[worker], command, alive=alive, **args)
        except NoAnswerError:
            answered = False
            raise
        finally:
            self._roster.commands[worker] -= 1
            if answered:
                self._roster.answered(worker, time.monotonic())

    def _is_alive(self, worker: str, pid: int) -> bool:
        heard = self._roster.heard.get(worker)
        silent = heard is not None and time.monotonic() - heard.time_s > HANGS_S
        return self._roster.processes[worker].pid == pid and not silent
