"""What a ZMQ socket is ready for, asked the cheap way: a poller of one socket costs five times as much."""

from typing import Any, Final

import zmq

# As plain numbers: pyzmq's enumerations cost more than the call.
_EVENTS: Final = int(zmq.EVENTS)
_READABLE: Final = int(zmq.POLLIN)
_WRITABLE: Final = int(zmq.POLLOUT)


def readable(found: zmq.Socket[Any]) -> bool:
    """Return whether a message has come."""
    return int(found.getsockopt(_EVENTS)) & _READABLE != 0


def writable(found: zmq.Socket[Any]) -> bool:
    """Return whether a message can be sent."""
    return int(found.getsockopt(_EVENTS)) & _WRITABLE != 0
