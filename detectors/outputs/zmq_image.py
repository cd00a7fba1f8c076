"""The image streams: full (PUSH), reduced (PUB) and pulse (PUB). Source of the formats: sf-buffer.

All three are fed by one thread, and no call here ever waits: a consumer that is too slow loses its images, counted, and
holds up neither the others nor the assembly. Pixels are handed to ZMQ without a copy; the lease on them is closed when
ZMQ has sent them to everyone.
"""

import struct
from collections import deque
from typing import Final, Protocol

import zmq
from zmq.utils.monitor import recv_monitor_message

from detectors.errors import HostError
from detectors.pools.buffer_pool import Lease
from detectors.stats import OutputStats
from detectors.wire.array10 import NO_DATA, ImageHeader, encode_header

LINGER_MS: Final = 500
"""How long what is queued may still be sent after the end, ms."""

_ACTIVE_S: Final = 1.0
"""An output that sent nothing for this long shows as Idle, s."""

_SUBSCRIBE: Final = b"\1"
_PULSE: Final = struct.Struct("<Q")


class ImageOutput(Protocol):
    """One image stream. For one thread, but for ``stats`` and ``enabled``."""

    enabled: bool
    """While False nothing is sent, and every image counts as disabled."""

    def wants_pixels(self, now: float) -> bool:
        """Return whether the pixels of the next image would be sent: somebody listens, has room, and it is due."""
        ...

    def send(self, header: ImageHeader, lease: Lease | None, now: float) -> None:
        """Send one image; ``lease`` is taken over. Without one there are no pixels to send, whatever the reason."""
        ...

    def poll(self) -> None:
        """Learn who came and went, and let go of pixels that are sent."""
        ...

    def stats(self, now: float) -> OutputStats:
        """Return a snapshot."""
        ...

    def close(self) -> None:
        """Send what is queued, for LINGER_MS at most, and close."""
        ...


class _InFlight:
    """Leases on pixels that ZMQ still holds."""

    def __init__(self) -> None:
        self._leases: deque[tuple[zmq.MessageTracker, Lease]] = deque()

    def __len__(self) -> int:
        return len(self._leases)

    def send(self, socket: zmq.Socket[bytes], lease: Lease) -> None:
        """Send the pixels as the last part of a message; nothing is copied."""
        tracker = socket.send(lease.data, copy=False, track=True)
        assert isinstance(tracker, zmq.MessageTracker)
        self._leases.append((tracker, lease))

    def reap(self) -> None:
        """Close the leases on what was sent. With several consumers that may be out of order."""
        for _ in range(len(self._leases)):
            tracker, lease = self._leases.popleft()
            if tracker.done:
                lease.close()
            else:
                self._leases.append((tracker, lease))

    def close(self) -> None:
        """Close all leases. ZMQ must have ended: it keeps the memory, not the lease."""
        while self._leases:
            self._leases.popleft()[1].close()


class _Counters:
    """What every stream counts: ``offered = written + dropped + disabled``."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.written = self.dropped = self.unwanted = self.bytes = self.listeners = 0
        self.last_sent = float("-inf")

    def sent(self, nbytes: int, now: float) -> None:
        """Count one message."""
        self.written += 1
        self.bytes += nbytes
        self.last_sent = now

    def stats(self, now: float, *, enabled: bool) -> OutputStats:
        """Return a snapshot."""
        written, dropped, unwanted = self.written, self.dropped, self.unwanted
        return OutputStats(
            name=self.name,
            enabled=enabled,
            state="Disabled" if not enabled else "Publishing" if now - self.last_sent < _ACTIVE_S else "Idle",
            offered=written + dropped + unwanted,
            written=written,
            dropped=dropped,
            disabled=unwanted,
            bytes=self.bytes,
            folder=self.address,
            subscribers=self.listeners,
        )


def _bind(context: zmq.Context[zmq.Socket[bytes]], kind: int, address: str, high_water_mark: int) -> zmq.Socket[bytes]:
    socket = context.socket(kind)
    socket.sndhwm = high_water_mark
    socket.linger = LINGER_MS
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        raise HostError(f"{address}: cannot stream images there: {error.strerror}; free it or choose another") from None
    return socket


def _endpoint(socket: zmq.Socket[bytes]) -> str:
    return socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0")


class FullStream:
    """Every image, PUSH: one logical consumer, whose many workers share the images.

    At most ``high_water_mark`` images wait for them; further ones are dropped. Raises HostError when the address
    cannot be bound.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str, high_water_mark: int) -> None:
        self.enabled = True
        self._limit = high_water_mark
        self._socket = _bind(context, zmq.PUSH, address, high_water_mark)
        self.address = _endpoint(self._socket)
        # A PUSH socket does not say whether nobody is there or nobody has room: its monitor does.
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        self._workers: set[int] = set()
        self._in_flight = _InFlight()
        self._count = _Counters("full", self.address)

    def wants_pixels(self, now: float) -> bool:  # noqa: ARG002
        """Return whether a worker has room."""
        return self._listening and len(self._in_flight) < self._limit and bool(self._socket.poll(0, zmq.POLLOUT))

    def send(self, header: ImageHeader, lease: Lease | None, now: float) -> None:
        """Send the image to the next worker; without pixels it is dropped, or was not wanted."""
        if lease is None:
            if self._listening:
                self._count.dropped += 1
            else:
                self._count.unwanted += 1
            return
        try:
            self._socket.send(encode_header(header), zmq.SNDMORE | zmq.DONTWAIT)
        except zmq.Again:  # the worker that had room is gone
            self._count.dropped += 1
            lease.close()
            return
        self._count.sent(len(lease), now)
        self._in_flight.send(self._socket, lease)

    def poll(self) -> None:
        """Learn which workers came and went, and let go of pixels that are sent."""
        self._in_flight.reap()
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)
            # Both carry the connection's descriptor.
            if event["event"] == zmq.EVENT_ACCEPTED:
                self._workers.add(event["value"])
            else:
                self._workers.discard(event["value"])
        self._count.listeners = len(self._workers)

    def stats(self, now: float) -> OutputStats:
        """Return a snapshot."""
        return self._count.stats(now, enabled=self.enabled)

    @property
    def _listening(self) -> bool:
        return self.enabled and bool(self._workers)

    def close(self) -> None:
        """Send what is queued, for LINGER_MS at most, and close."""
        self._socket.disable_monitor()
        self._monitor.close()
        self._socket.close()
        self._in_flight.close()


class _Publisher:
    """An XPUB socket that knows its subscribers, and that tells when the queue of one is found full.

    That one then loses messages until it has room again; ZMQ tells of the first of them only. A consumer of the reduced
    stream can count its own: it is sent every header.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str, high_water_mark: int) -> None:
        self.socket = _bind(context, zmq.XPUB, address, high_water_mark)
        self.socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        self.socket.setsockopt(zmq.XPUB_NODROP, 1)
        self.address = _endpoint(self.socket)
        self.subscribers = 0

    def poll(self) -> None:
        """Learn of subscribers that came or went."""
        while self.socket.poll(0):
            event = self.socket.recv(zmq.DONTWAIT)
            self.subscribers = max(0, self.subscribers + (1 if event[:1] == _SUBSCRIBE else -1))

    def send_first(self, part: bytes, flags: int = 0) -> bool:
        """Send the first part of a message; False when a subscriber has no room for the message and loses it."""
        try:
            self.socket.send(part, flags | zmq.DONTWAIT)
        except zmq.Again:
            # Those who have room must get it all the same.
            self.socket.setsockopt(zmq.XPUB_NODROP, 0)
            self.socket.send(part, flags | zmq.DONTWAIT)
            self.socket.setsockopt(zmq.XPUB_NODROP, 1)
            return False
        return True


class ReducedStream:
    """Every header, and pixels at ``rate_hz``, PUB. A message at which a subscriber's queue is found full counts as dropped.

    Raises HostError when the address cannot be bound.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], address: str, high_water_mark: int, rate_hz: float
    ) -> None:
        self.enabled = True
        self._limit = high_water_mark
        self.rate_hz = rate_hz
        """Messages with pixels a second; may be changed."""
        self._due = float("-inf")
        self._publisher = _Publisher(context, address, high_water_mark)
        self.address = self._publisher.address
        self._in_flight = _InFlight()
        self._count = _Counters("reduced", self.address)
        self.with_pixels = 0
        """Messages that carried pixels."""

    def wants_pixels(self, now: float) -> bool:
        """Return whether the next pixels are due, and somebody subscribes."""
        return self._listening and now >= self._due and len(self._in_flight) < self._limit

    def send(self, header: ImageHeader, lease: Lease | None, now: float) -> None:
        """Send the header, with pixels when there are any."""
        if not self._listening:
            self._count.unwanted += 1
            if lease is not None:
                lease.close()
            return
        if lease is not None:
            # On the grid, so that the rate is kept on average; but a pause is not made up for by a burst.
            period_s = 1 / self.rate_hz
            self._due = (self._due if now - self._due < period_s else now) + period_s
        complete = self._publisher.send_first(encode_header(header, with_data=lease is not None), zmq.SNDMORE)
        if lease is not None:
            nbytes = len(lease)
            self._in_flight.send(self._publisher.socket, lease)
        else:
            nbytes = len(NO_DATA)
            self._publisher.socket.send(NO_DATA)
        if complete:
            self._count.sent(nbytes, now)
            self.with_pixels += lease is not None
        else:
            self._count.dropped += 1

    def poll(self) -> None:
        """Learn of subscribers that came or went, and let go of pixels that are sent."""
        self._in_flight.reap()
        self._publisher.poll()
        self._count.listeners = self._publisher.subscribers

    def stats(self, now: float) -> OutputStats:
        """Return a snapshot."""
        return self._count.stats(now, enabled=self.enabled)

    def close(self) -> None:
        """Send what is queued, for LINGER_MS at most, and close."""
        self._publisher.socket.close()
        self._in_flight.close()

    @property
    def _listening(self) -> bool:
        return self.enabled and self._publisher.subscribers > 0


class PulseStream:
    """The bare pulse_id of every image, u64, PUB. Raises HostError when the address cannot be bound."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str, high_water_mark: int) -> None:
        self.enabled = True
        self._publisher = _Publisher(context, address, high_water_mark)
        self.address = self._publisher.address
        self._count = _Counters("pulse", self.address)

    def wants_pixels(self, now: float) -> bool:  # noqa: ARG002
        """Return False: there is no place for them."""
        return False

    def send(self, header: ImageHeader, lease: Lease | None, now: float) -> None:
        """Send the pulse_id."""
        assert lease is None
        if not (self.enabled and self._publisher.subscribers):
            self._count.unwanted += 1
        elif self._publisher.send_first(_PULSE.pack(header.head.pulse_id)):
            self._count.sent(_PULSE.size, now)
        else:
            self._count.dropped += 1

    def poll(self) -> None:
        """Learn of subscribers that came or went."""
        self._publisher.poll()
        self._count.listeners = self._publisher.subscribers

    def stats(self, now: float) -> OutputStats:
        """Return a snapshot."""
        return self._count.stats(now, enabled=self.enabled)

    def close(self) -> None:
        """Send what is queued, for LINGER_MS at most, and close."""
        self._publisher.socket.close()
