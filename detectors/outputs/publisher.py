"""The one kind of socket that binds and publishes: every stream that leaves a worker or a replay goes through it."""

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Final

import zmq

from detectors.curve import AUTHORIZED, load_pair, server_secret
from detectors.errors import HostError
from detectors.outputs.peers import Peers
from detectors.zmq_events import readable, writable

if TYPE_CHECKING:
    from zmq.auth.thread import ThreadAuthenticator

LINGER_MS: Final = 500
"""How long queued messages may still be sent after the end, ms."""

_MAX_REQUEST_BYTES: Final = 1024
"""A peer that sends more is disconnected: subscriptions are short, and nothing else is expected from it."""

_RECEIVE_BUFFER: Final = 8 << 10
"""Socket buffer for what peers send: it slows one that floods us."""

_HANDSHAKE_MS: Final = 5000
"""A peer that is not connected after this long is disconnected, ms."""

_REQUESTS_HWM: Final = 10
"""Messages of a peer that wait: ZMQ handles all that wait in one go, on the thread that sends."""

_MAX_REQUESTS: Final = 300
"""Messages of peers handled in one ``look``: a peer that floods us must not hold up the stream."""

_SUBSCRIBE: Final = b"\1"

_MORE: Final = int(zmq.SNDMORE)
_DONT_WAIT: Final = int(zmq.DONTWAIT)
"""As plain numbers: pyzmq's enumerations cost more than they say."""


class Publisher:
    """A bound XPUB socket, or another ``kind`` that only sends, with a count of its consumers. For one thread.

    Consumers are counted by connection, so that no peer can change what the others get: a connection of an XPUB counts
    from its first subscription until it closes.

    An XPUB that finds the queue of a subscriber full leaves it out until it has read; ZMQ reports the first message lost
    that way and not those that follow.

    ``queue`` is the number of messages kept for each consumer. With ``wait_s``, sending waits that long for a consumer
    that has no room, instead of leaving it out. ``context`` is terminated by its owner. With ``curve_keys``, a folder of
    keys, only its clients may connect over tcp; they are read once. Raises HostError when the address
    cannot be bound.
    """

    def __init__(
        self,
        address: str,
        queue: int,
        *,
        kind: int = zmq.XPUB,
        linger_ms: int = LINGER_MS,
        wait_s: float = 0.0,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
        curve_keys: Path | None = None,
    ) -> None:
        self.consumers = 0
        keys = curve_keys if address.startswith("tcp:") else None
        pair = load_pair(server_secret(keys)) if keys else None
        # Each context has one authenticator, and each authenticator a context.
        self._owns_context = context is None or keys is not None
        self._context = zmq.Context() if context is None or keys else context
        self._authenticator = authenticator(self._context, keys) if keys else None
        self.socket = self._context.socket(kind)
        if pair:
            self.socket.curve_publickey, self.socket.curve_secretkey = pair
            self.socket.curve_server = True
        self.socket.sndhwm = queue
        self.socket.rcvhwm = _REQUESTS_HWM
        self.socket.linger = linger_ms
        self.socket.maxmsgsize = _MAX_REQUEST_BYTES
        self.socket.rcvbuf = _RECEIVE_BUFFER
        self.socket.handshake_ivl = _HANDSHAKE_MS
        self._waits = wait_s > 0
        if self._waits:
            self.socket.sndtimeo = round(wait_s * 1000)
        self._subscribes = kind == zmq.XPUB
        self._leaves_out = self._subscribes and not self._waits
        if self._subscribes:
            self.socket.setsockopt(zmq.XPUB_VERBOSE, 1)
            self.socket.setsockopt(zmq.XPUB_NODROP, 1)
        self._peers = Peers(self._context, self.socket, subscribes=self._subscribes)
        try:
            self.socket.bind(address)
        except zmq.ZMQError as error:
            self.address = ""
            self.close(linger_ms=0)
            found = zmq.strerror(error.errno or 0)
            remedy = "set XDG_RUNTIME_DIR to a shorter folder" if error.errno == errno.ENAMETOOLONG else "free it"
            raise HostError(f"{address}: cannot publish there: {found}; {remedy} or choose another") from None
        self.address = self.socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0")
        """Where it is bound, with the port that the system chose."""
        self._peers.watch(self.address)

    def look(self) -> None:
        """Count the consumers that came or went."""
        self.consumers = self._peers.look(self._read_subscriptions() if self._subscribes else set())

    @property
    def look_again(self) -> bool:
        """Whether the last ``look`` left connections unhandled: the next one should come with the next message."""
        return self._peers.more

    def _read_subscriptions(self) -> set[int]:
        """Return the connections that subscribed."""
        subscribed: set[int] = set()
        for _ in range(_MAX_REQUESTS):
            if not readable(self.socket):
                break
            request = self.socket.recv(zmq.DONTWAIT, copy=False)
            # Only ZMQ's own messages, of subscriptions that ended with their connection, have no descriptor.
            if request.bytes[:1] == _SUBSCRIBE:
                subscribed.add(int(request.get(zmq.SRCFD)))
        return subscribed

    def send(self, *parts: bytes | memoryview) -> bool:
        """Send a message; return as ``begin`` does."""
        *first, last = parts
        if not first:
            return self.begin(last, 0)
        complete = self.begin(first[0])
        if complete or self._leaves_out:
            self.socket.send(last)
        return complete

    def has_room(self) -> bool:
        """Return whether a consumer has room for a message now; not for an XPUB, which always has."""
        return writable(self.socket)

    def begin(self, part: bytes | memoryview, flags: int = _MORE) -> bool:
        """Send the first part of a message; False when a consumer has no room for it.

        The other subscribers of an XPUB that does not wait get the message; all others have not sent it.
        """
        # ZMQ learns what its consumers have read once a millisecond, or when it is asked for events.
        if self._try(part, flags) or (not self._waits and self.socket.get(zmq.EVENTS) and self._try(part, flags)):
            return True
        if self._leaves_out:
            self.socket.setsockopt(zmq.XPUB_NODROP, 0)
            self.socket.send(part, flags)
            self.socket.setsockopt(zmq.XPUB_NODROP, 1)
        return False

    def _try(self, part: bytes | memoryview, flags: int) -> bool:
        try:
            self.socket.send(part, flags if self._waits else flags | _DONT_WAIT)
        except zmq.Again:
            return False
        return True

    def close(self, linger_ms: int | None = None) -> None:
        """Send what is queued, for the linger time at most, and remove the socket's file. Idempotent."""
        if self._peers.closed:
            return
        self._peers.close()
        self.socket.close(linger_ms)
        if self._authenticator:
            self._authenticator.stop()
        if self._owns_context:
            self._context.term()
        if self.address.startswith("ipc://"):
            Path(self.address.removeprefix("ipc://")).unlink(missing_ok=True)


def authenticator(context: zmq.Context[zmq.Socket[bytes]], keys: Path) -> "ThreadAuthenticator":
    """Return an authenticator that lets in the clients of a folder of keys."""
    from zmq.auth.thread import ThreadAuthenticator

    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    authenticator.configure_curve("*", keys / AUTHORIZED)  # pyright: ignore[reportUnknownMemberType]
    return authenticator
