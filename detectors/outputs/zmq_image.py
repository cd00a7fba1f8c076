"""The image streams: full (PUSH), reduced (PUB) and pulse (PUB). Source of the formats: sf-buffer.

All three are fed by one thread, and no call here waits: a consumer that is too slow loses its images, counted, and
holds up neither the others nor the assembly. Pixels are handed to ZMQ without a copy; the lease on them is closed when
ZMQ has sent them to everyone.
"""

import struct
from abc import ABC, abstractmethod
from collections import deque
from pathlib import Path
from typing import ClassVar, Final

import zmq

from detectors.outputs.publisher import Publisher
from detectors.parts import is_joined
from detectors.pools.buffer_pool import Lease
from detectors.stats import OutputStats
from detectors.wire.array10 import NO_DATA, ImageHeader, encode_header

_ACTIVE_S: Final = 1.0
"""An output that sent nothing for this long shows as Idle, s."""

_PULSE: Final = struct.Struct("<Q")


class ImageOutput(ABC):
    """One image stream. For one thread, but for ``stats`` and ``enabled``.

    At most ``high_water_mark`` images wait for a consumer. Raises HostError when the address cannot be bound.
    """

    name: ClassVar[str]
    kind: ClassVar[int] = zmq.XPUB
    needs_pixels: ClassVar[bool] = False
    """Whether an image without pixels is nothing to it."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        high_water_mark: int,
        *,
        curve_keys: Path | None = None,
    ) -> None:
        self.enabled = True
        """While False nothing is sent, and every image counts as disabled."""
        self._publisher = Publisher(address, high_water_mark, kind=self.kind, context=context, curve_keys=curve_keys)
        self.address = self._publisher.address
        self._limit = high_water_mark
        # Pixels that ZMQ still holds:
        self._in_flight: deque[tuple[zmq.MessageTracker, Lease]] = deque()
        self._written = self._dropped = self._disabled = self._bytes = 0
        self._queued: int = 0
        self._last_sent = float("-inf")

    @abstractmethod
    def wants_pixels(self, pulse_id: int, now: float) -> bool:
        """Return whether the pixels of an image would be sent: there is a consumer with room, and they are due."""

    def send(self, header: ImageHeader, lease: Lease | None, now: float) -> None:
        """Send one image; ``lease`` is taken over. Without one there are no pixels to send, whatever the reason."""
        if not self.has_consumers:
            self.leave_out()
            if lease is not None:
                lease.close()
            return
        nbytes = self._send(header, lease, now)
        if nbytes is None:
            self._queued += 1
        elif nbytes:
            self._written += 1
            self._bytes += nbytes
            self._last_sent = now
        else:
            self._dropped += 1

    def leave_out(self) -> None:
        """Count an image that is not requested."""
        self._disabled += 1

    @abstractmethod
    def _send(self, header: ImageHeader, lease: Lease | None, now: float) -> int | None:
        """Send one image; return the bytes of data sent, 0 when a consumer lost it, None when it has to wait."""

    def poll(self) -> None:
        """Count the consumers, and close the leases on pixels that are sent."""
        self._close_sent()
        self._publisher.look()

    def _close_sent(self) -> None:
        # With several consumers they may be sent out of order.
        for _ in range(len(self._in_flight)):
            tracker, lease = self._in_flight.popleft()
            if tracker.done:
                lease.close()
            else:
                self._in_flight.append((tracker, lease))

    def _may_hold_more(self) -> bool:
        """Return whether ZMQ holds fewer pixels than it may."""
        if len(self._in_flight) >= self._limit:
            self._close_sent()
        return len(self._in_flight) < self._limit

    def stats(self, now: float) -> OutputStats:
        """Return a snapshot."""
        written, dropped, disabled = self._written, self._dropped, self._disabled
        state = "Publishing" if now - self._last_sent < _ACTIVE_S else "Idle"
        return OutputStats(
            name=self.name,
            enabled=self.enabled,
            state=state if self.enabled else "Off",
            offered=written + dropped + disabled + self._queued,
            written=written,
            dropped=dropped,
            disabled=disabled,
            queued=self._queued,
            bytes=self._bytes,
            folder=self.address,
            subscribers=self._publisher.consumers,
        )

    def close(self) -> None:
        """Send what is queued, for half a second at most, and close."""
        self._publisher.close()
        while self._in_flight:  # ZMQ keeps the memory as long as it needs it, without a lease
            self._in_flight.popleft()[1].close()

    @property
    def has_consumers(self) -> bool:
        """Whether the images are sent to a consumer."""
        return self.enabled and self._publisher.consumers > 0

    def _send_pixels(self, lease: Lease) -> int:
        """Send pixels as the last part of a message, uncopied; return their bytes."""
        tracker = self._publisher.socket.send(lease.data, copy=False, track=True)
        assert isinstance(tracker, zmq.MessageTracker)
        self._in_flight.append((tracker, lease))
        return len(lease)


class FullStream(ImageOutput):
    """Every image, PUSH: one logical consumer, whose many workers share the images."""

    name = "full"
    kind = zmq.PUSH
    needs_pixels = True

    def wants_pixels(self, pulse_id: int, now: float) -> bool:  # noqa: ARG002
        """Return whether a worker has room."""
        return self.has_consumers and self._may_hold_more() and self._publisher.has_room()

    def _send(self, header: ImageHeader, lease: Lease | None, now: float) -> int | None:  # noqa: ARG002
        if lease is None:
            return 0
        if not self._publisher.begin(encode_header(header)):  # the worker that had room is gone
            lease.close()
            return 0
        return self._send_pixels(lease)


class ReducedStream(ImageOutput):
    """Every header, and pixels at ``rate_hz``, PUB. A message at which a subscriber's queue is found full counts as dropped.

    A subscriber can count those that it lost: it is sent every header.
    """

    name = "reduced"

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        high_water_mark: int,
        rate_hz: float,
        *,
        curve_keys: Path | None = None,
    ) -> None:
        super().__init__(context, address, high_water_mark, curve_keys=curve_keys)
        self.rate_hz = rate_hz
        """Messages with pixels a second; may be changed."""
        self.with_pixels = 0
        """Messages that carried pixels."""
        self._due = float("-inf")

    def wants_pixels(self, pulse_id: int, now: float) -> bool:  # noqa: ARG002
        """Return whether the next pixels are due, and there is a subscriber."""
        return self.has_consumers and now >= self._due and self._may_hold_more()

    def _send(self, header: ImageHeader, lease: Lease | None, now: float) -> int:
        complete = self._publisher.begin(encode_header(header, with_data=lease is not None))
        if lease is None:
            self._publisher.socket.send(NO_DATA)
            return len(NO_DATA) if complete else 0
        # On the grid, so that the rate is kept on average; but a pause is not made up for by a burst.
        period_s = 1 / self.rate_hz
        self._due = (self._due if now - self._due < period_s else now) + period_s
        nbytes = self._send_pixels(lease)
        self.with_pixels += complete
        return nbytes if complete else 0


class PartStream(ImageOutput):
    """Every header of a part, and the pixels of those that are joined, PUB.

    An image that is joined and has no pixels, because a consumer is too slow, is dropped: its header goes out alone.
    """

    name = "reduced"

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        high_water_mark: int,
        *,
        pulse_id_step: int,
        every: int,
        curve_keys: Path | None = None,
    ) -> None:
        """``high_water_mark`` images with pixels may wait for a consumer, and the headers between them."""
        super().__init__(context, address, high_water_mark * every, curve_keys=curve_keys)
        self._limit = high_water_mark
        self._pulse_id_step, self._every = pulse_id_step, every
        self.with_pixels = 0
        """Messages that carried pixels."""

    def wants_pixels(self, pulse_id: int, now: float) -> bool:  # noqa: ARG002
        """Return whether the image is joined, and there is a subscriber."""
        return self.has_consumers and self._is_joined(pulse_id) and self._may_hold_more()

    def _is_joined(self, pulse_id: int) -> bool:
        return is_joined(pulse_id, self._pulse_id_step, self._every)

    def _send(self, header: ImageHeader, lease: Lease | None, now: float) -> int:  # noqa: ARG002
        complete = self._publisher.begin(encode_header(header, with_data=lease is not None))
        if lease is not None:
            nbytes = self._send_pixels(lease)
            self.with_pixels += complete
            return nbytes if complete else 0
        self._publisher.socket.send(NO_DATA)
        return len(NO_DATA) if complete and not self._is_joined(header.head.pulse_id) else 0


class PulseStream(ImageOutput):
    """The bare pulse_id of every image, u64, PUB."""

    name = "pulse"

    def wants_pixels(self, pulse_id: int, now: float) -> bool:  # noqa: ARG002
        """Return False: the format has no pixels."""
        return False

    def _send(self, header: ImageHeader, lease: Lease | None, now: float) -> int:  # noqa: ARG002
        assert lease is None
        return _PULSE.size if self._publisher.begin(_PULSE.pack(header.head.pulse_id), 0) else 0
