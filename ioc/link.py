"""Commands to workers, without holding up the IOC's event loop."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final

import zmq
import zmq.asyncio

from detectors.errors import CommandError

_LOOK_MS: Final = 250
"""Who waits for an answer looks this often whether there is still somebody to give it."""


class NoAnswerError(CommandError):
    """A worker did not answer in time: it may have died, or hang."""


async def ask(
    context: zmq.asyncio.Context,
    address: str,
    command: str,
    timeout_s: float = 2.0,
    alive: Callable[[], bool] = lambda: True,
    **args: Any,
) -> Any:
    """Send a command to the worker at ``address`` and return its result.

    Raises CommandError when it refuses, NoAnswerError when it does not answer within ``timeout_s``, or is no longer
    ``alive``.
    """
    with context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.connect(address)
        try:
            async with asyncio.timeout(timeout_s):
                await socket.send(json.dumps({"command": command, "args": args}).encode())
                while not await socket.poll(_LOOK_MS):
                    if not alive():
                        raise NoAnswerError(f"{command}: the worker ended, or hangs, before it answered")
                reply = json.loads(await socket.recv())
        except TimeoutError:
            raise NoAnswerError(f"{command}: no answer within {timeout_s:g} s") from None
    if not reply["ok"]:
        raise CommandError(reply["message"])
    return reply["result"]
