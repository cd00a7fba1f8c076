"""The ZMQ sockets that announce frames and images of others, or bring them: one for each sender."""

import time
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import zmq

from detectors.curve import CurveKeys, load_client
from detectors.errors import HostError
from detectors.sources.connection import ZmqConnection, notice_lost_peer
from detectors.zmq_events import readable

_BATCH: Final = 32
"""Most messages of a module taken at a time: consumers that connect or disconnect are noticed in between."""

_RECONNECT_MS: Final = 100
_RECONNECT_MAX_MS: Final = 1000


_HEADERS_BYTES: Final = 1 << 10
"""What a part of a message may be larger than the pixels expected: it holds all our headers and notifications."""

_LOOK_S: Final = 0.1
"""Time between two looks at the connections, s: so often at most is one made again that ended over a message."""


class Sender(NamedTuple):
    """Where messages come from, and what they may take."""

    address: str
    queue: int
    """Messages that may wait."""
    pixels_bytes: int
    """A message with a part larger than this and 1 KiB is not received: it ends the connection, which is made again."""


class Subscriptions:
    """One socket for each sender (each module), to know which one sent a message. ``keys`` are for those on tcp.

    Raises HostError for a bad address.
    """

    def __init__(self, senders: Sequence[Sender], kind: int = zmq.SUB, keys: CurveKeys | None = None) -> None:
        loaded = load_client(keys) if keys else None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._poller = zmq.Poller()
        self._module_of: dict[zmq.Socket[bytes], int] = {}
        self._connections: list[ZmqConnection] = []
        self._look_at = 0.0
        for module, (address, queue, pixels_bytes) in enumerate(senders):
            socket = self._context.socket(kind)
            socket.rcvhwm = queue
            socket.linger = 0
            socket.reconnect_ivl, socket.reconnect_ivl_max = _RECONNECT_MS, _RECONNECT_MAX_MS
            if address.startswith("tcp:"):
                notice_lost_peer(socket)
                if loaded:
                    loaded.use(socket)
            if kind == zmq.SUB:
                socket.subscribe(b"")
            try:
                self._connections.append(ZmqConnection(socket, address, pixels_bytes + _HEADERS_BYTES))
            except zmq.ZMQError as error:
                self.close()
                raise HostError(
                    f"{address}: cannot subscribe there: {error.strerror}; give tcp://host:port or ipc://path"
                ) from None
            self._poller.register(socket, zmq.POLLIN)
            self._module_of[socket] = module
        self.descriptors = [socket.FD for socket in self._module_of]
        """ZMQ's own descriptors: edge-triggered, so every message must be read before they are waited for."""

    def receive(self, timeout_s: float) -> Iterator[tuple[int, list[memoryview]]]:
        """Yield (module, message) of what has arrived, waiting up to ``timeout_s`` for the first.

        One message of each module in turn, so that none seems ahead of the others, and at most _BATCH of each. A message
        that was too large comes as one without parts.
        """
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_S
            for module, connection in enumerate(self._connections):
                if connection.look():
                    yield module, []
        ready = [socket for socket, _ in self._poller.poll(int(timeout_s * 1000))]
        for _ in range(_BATCH):
            ready = [socket for socket in ready if readable(socket)]
            for socket in ready:
                try:
                    parts = _parts(socket)
                except zmq.Again:  # its connection has just ended
                    continue
                yield self._module_of[socket], parts

    def receive_one(self, timeout_s: float) -> list[memoryview] | None:
        """Return one message of any sender, waiting up to ``timeout_s``; None when there is none."""
        return next((message for _, message in self.receive(timeout_s)), None)

    def close(self) -> None:
        """Close the sockets. Idempotent."""
        self._context.destroy(linger=0)


def _parts(socket: zmq.Socket[bytes]) -> list[memoryview]:
    """Return a message that has come, for half the price of ``recv_multipart``. Raises zmq.Again when there is none."""
    part = socket.recv(zmq.DONTWAIT, copy=False)
    parts = [part.buffer]
    while part.more:
        part = socket.recv(copy=False)
        parts.append(part.buffer)
    return parts
