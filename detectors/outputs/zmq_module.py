"""The live module stream: ZMQ PUB of two parts, ModuleFrame and pixels. Live: may drop, counted.

Source of the format: sf-buffer.
"""

import errno
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import zmq

from detectors.errors import HostError
from detectors.pools.heap import MMAP_THRESHOLD, TRIM_THRESHOLD, tune_heap
from detectors.pools.pebble import PebbleLease
from detectors.stats import OutputStats

_UNSUBSCRIBE: Final = 0
_LINGER_MS: Final = 500

_HEAP: Final = {MMAP_THRESHOLD: 32 << 20, TRIM_THRESHOLD: 64 << 20}
"""ZMQ's copies of frames (up to 32 MiB each, the most that glibc allows) use the memory of earlier ones again."""


class ModulePublisher:
    """Sink that publishes every frame while somebody subscribes, and costs nothing while nobody does.

    PUB drops silently; an XPUB socket with ``XPUB_NODROP`` tells when a subscriber's queue fills up, so that it can be
    counted before the frame is sent to those who have room. ZMQ then leaves that subscriber out until it has read, and
    does not say how many frames it missed: it sees them itself as gaps in pulse_id.
    Raises HostError when the address cannot be bound.
    """

    name = "zmq"
    busy_state = "Publishing"
    most = 1

    def __init__(self, address: str, high_water_mark: int) -> None:
        tune_heap(_HEAP)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.sndhwm = high_water_mark
        self._socket.linger = _LINGER_MS
        self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        self._socket.setsockopt(zmq.XPUB_NODROP, 1)
        self._subscribers = 0
        self._bytes = 0
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise HostError(
                f"{address}: cannot publish there: {zmq.strerror(error.errno or 0)}; free it or choose another"
            ) from None
        endpoint = self._socket.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(endpoint, bytes)
        self.address = endpoint.rstrip(b"\0").decode()

    @property
    def wanted(self) -> bool:
        """Whether anybody subscribes."""
        return self._subscribers > 0

    def write(self, leases: Sequence[PebbleLease]) -> int:
        """Send the first frame and return 1; 0 when nobody subscribes.

        Raises OSError (ENOBUFS) when a subscriber's queue is full: that one loses the frame, the others get it.
        """
        self._count_subscribers()
        if not self._subscribers:
            return 0
        lease = leases[0]
        # The copies are what frees the slot at once; ZMQ would copy into the kernel either way.
        try:
            self._socket.send(lease.wire_head, zmq.SNDMORE | zmq.DONTWAIT)
        except zmq.Again:
            self._socket.setsockopt(zmq.XPUB_NODROP, 0)
            self._socket.send(lease.wire_head, zmq.SNDMORE)
            self._socket.send(lease.data)
            self._socket.setsockopt(zmq.XPUB_NODROP, 1)
            raise BlockingIOError(errno.ENOBUFS, "a subscriber is too slow, its queue is full") from None
        self._socket.send(lease.data)
        self._bytes += lease.data.nbytes
        return 1

    def idle(self) -> None:
        """Learn of subscribers that came or went."""
        self._count_subscribers()

    def fill(self, stats: OutputStats) -> OutputStats:
        """Add the address, the subscribers and the bytes sent."""
        return replace(stats, folder=self.address, subscribers=self._subscribers, bytes=self._bytes)

    def close(self) -> None:
        """Send what is queued, for half a second at most."""
        self._socket.close()
        self._context.term()
        if self.address.startswith("ipc://"):
            Path(self.address.removeprefix("ipc://")).unlink(missing_ok=True)

    def _count_subscribers(self) -> None:
        while self._socket.poll(0):
            event = self._socket.recv(zmq.DONTWAIT)
            self._subscribers = max(0, self._subscribers + (-1 if event[:1] == bytes([_UNSUBSCRIBE]) else 1))
