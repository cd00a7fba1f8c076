"""A ZMQ socket that connects, limits the size of what it receives, and connects again when the limit was exceeded."""

from typing import Any, Final

import zmq
from zmq.utils.monitor import recv_monitor_message

_EVENTS: Final = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED

_HEARTBEAT_MS: Final = 1000


def notice_lost_peer(socket: zmq.Socket[Any]) -> None:
    """Let the tcp connections that a socket makes from now on end 3 s after their peer's host has vanished."""
    socket.heartbeat_ivl, socket.heartbeat_timeout = _HEARTBEAT_MS, 3 * _HEARTBEAT_MS


class ZmqConnection:
    """The only connection of ``socket``; connects it. For one thread.

    ZMQ ends a connection over a message with a part above ``largest_bytes``, or over what is not ZMTP, and does not connect
    again by itself, as it does in all other cases. Raises ZMQError for a bad address.
    """

    def __init__(self, socket: zmq.Socket[bytes], address: str, largest_bytes: int) -> None:
        socket.maxmsgsize = largest_bytes
        self._socket = socket
        self._address = address
        self._monitor = socket.get_monitor_socket(_EVENTS)
        self._established = False
        self._ended = False
        """Ended in the last look, without an attempt to connect again since then."""
        socket.connect(address)

    def look(self) -> bool:
        """Connect again where ZMQ does not; return whether a message ended the connection."""
        ended_before = self._ended
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)["event"]
            self._ended = event == zmq.EVENT_DISCONNECTED
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._established = True
            elif event == zmq.EVENT_CONNECT_RETRIED:
                self._established = False
        # ZMQ announces its next attempt just after the end, which may be after this look: the next one decides.
        if not (ended_before and self._ended):
            return False
        self._socket.disconnect(self._address)
        self._socket.connect(self._address)
        by_message, self._established, self._ended = self._established, False, False
        return by_message
