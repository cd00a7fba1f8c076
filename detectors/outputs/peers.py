"""The peers of a bound socket: who counts as a consumer, and an end to those that send more than a consumer does.

ZMQ bounds one message of a peer, but neither the parts of a message nor the number of subscriptions, and handles what comes on
the thread that sends. A peer could fill the memory with either, and keep the stream from the others meanwhile.
"""

import socket
import struct
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

import zmq

from detectors.zmq_events import readable

_GREETING_BYTES: Final = 14
"""What a peer has sent at least when it is connected by the shortest handshake (ZMTP 2). A port scanner sends less."""

_BURST_BYTES: Final = 16 << 10
_STEADY_BYTES_S: Final = 1000
"""A peer may send so much: its handshake and subscriptions in a burst, and heartbeats all the time."""

_MOST: Final = 200
"""Connections of one socket; beyond it, the oldest that have not subscribed are closed. A process often has no more than 1024
files."""

_FOLLOW_S: Final = 0.002
"""Least time between two looks at who came and went, s: frames come more often than consumers."""

_CHECK_S: Final = 0.02
"""Least time between two looks at what the peers have sent, s."""

_MOST_EVENTS: Final = 300
"""Connections that come and go, handled in one ``look``: they must not hold up the stream."""

_EVENTS_HWM: Final = 20_000
"""Connections that come and go between two looks, 3 MB. When more do, ZMQ's thread waits, and the stream with it."""

_EVENT: Final = struct.Struct("=Hi")
"""An event of ZMQ's monitor and its value, here the descriptor of a connection. Source: zmq_socket_monitor(3)."""

_BYTES_RECEIVED: Final = struct.Struct("<128xQ")
"""``struct tcp_info`` as far as tcpi_bytes_received. Source: linux/tcp.h."""


@dataclass(slots=True)
class _Peer:
    received: int = 0
    """Bytes that it has sent; on ipc 0."""
    credit: float = _BURST_BYTES
    """Bytes that it may still send in a burst."""


class Peers:
    """The connections of a bound socket. For one thread.

    A connection of an XPUB (``subscribes``) counts as a consumer from its first subscription until it closes, one of another
    socket from its handshake. Peers on tcp that send too much are disconnected; those on ipc are of this account.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], bound: zmq.Socket[bytes], *, subscribes: bool) -> None:
        self._subscribes = subscribes
        self._port = 0
        self._peers: dict[int, _Peer] = {}  # by the descriptor of the connection, oldest first
        self._subscribed: set[int] = set()
        self._new: set[int] = set()
        self._consumers = 0
        self._followed_s = self._checked_s = 0.0
        self._bound = bound
        self.more = False
        """Whether connections came or went that the last look did not handle: look again soon."""
        events = f"inproc://events-of-{id(bound)}"
        bound.monitor(events, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        self._monitor = context.socket(zmq.PAIR)
        self._monitor.rcvhwm = _EVENTS_HWM
        self._monitor.linger = 0
        self._monitor.connect(events)

    def watch(self, address: str) -> None:
        """Limit what peers send to a tcp address."""
        self._port = int(address.rpartition(":")[2]) if address.startswith("tcp:") else 0

    def look(self, subscribed: set[int]) -> int:
        """Return the number of consumers. ``subscribed`` are the connections that subscribed since the last look."""
        # Read after the subscriptions and applied before them: the events of a connection, and of an earlier one with
        # the same descriptor, are all here when its subscription is.
        self._new |= subscribed
        now = time.monotonic()
        if now - self._followed_s < _FOLLOW_S:
            return self._consumers
        self._followed_s = now
        self.more = not self._follow_events()
        if not self.more:
            self._subscribed |= self._new
            self._new.clear()
        if self._port and now - self._checked_s >= _CHECK_S:
            self._check(now - self._checked_s)
            self._checked_s = now
        if self._subscribes:
            self._consumers = len(self._peers.keys() & self._subscribed)
        else:
            self._consumers = sum(not self._port or peer.received >= _GREETING_BYTES for peer in self._peers.values())
        return self._consumers

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._monitor.closed

    def close(self) -> None:
        """Stop watching."""
        if not self._bound.closed:
            self._bound.disable_monitor()
        self._monitor.close()

    def _follow_events(self) -> bool:
        """Follow who came and went; False when there is more."""
        for _ in range(_MOST_EVENTS):
            if not readable(self._monitor):
                return True
            event, connection = _EVENT.unpack(self._monitor.recv_multipart()[0])
            self._subscribed.discard(connection)
            self._peers.pop(connection, None)
            if event == zmq.EVENT_ACCEPTED:
                self._peers[connection] = _Peer()
        return False

    def _check(self, elapsed_s: float) -> None:
        """Disconnect the peers that sent too much, and those that are too many."""
        spare = len(self._peers) - _MOST
        for connection, peer in self._peers.items():
            idle = self._subscribes and connection not in self._subscribed
            # ZMQ closes the descriptor at any time, so it may be another file by now.
            with suppress(OSError), _borrowed(connection) as link:
                if link.getsockname()[1] != self._port:
                    continue
                received = _BYTES_RECEIVED.unpack(
                    link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED.size)
                )[0]
                peer.credit = min(peer.credit + elapsed_s * _STEADY_BYTES_S, _BURST_BYTES) - (received - peer.received)
                peer.received = received
                if peer.credit < 0 or (idle and spare > 0):
                    link.shutdown(socket.SHUT_RDWR)
                    spare -= 1


@contextmanager
def _borrowed(descriptor: int) -> Generator[socket.socket]:
    """Yield a tcp socket that ZMQ will close. Raises OSError when the descriptor is not one."""
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=descriptor)
    try:
        yield found
    finally:
        found.detach()
