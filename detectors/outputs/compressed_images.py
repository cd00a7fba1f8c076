"""Images that are compressed once, for the full stream of this worker and for other workers of its host.

They lie in a pebble of compressed images, which other workers read as they read those of modules: a notification names each
image. A worker that subscribes to the notifications requests all images; without a subscriber or a consumer nothing is compressed.
"""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import zmq

from detectors.errors import PoolExhaustedError
from detectors.frame import Damage, FrameHead, RecordShape
from detectors.outputs.zmq_image import FullStream, ImageOutput
from detectors.pools.buffer_pool import Lease
from detectors.pools.pebble import Pebble, PebbleLoan
from detectors.pools.segment import least_slot_bytes
from detectors.wire.array10 import ImageHeader, encode_header
from detectors.wire.bslz4 import Bslz4Encoder
from detectors.wire.compressed_image import COMPRESSION, chunk_start, put_header, slot_room

_NOTIFICATIONS: Final = 10_000
"""Notifications kept for a slow reader, of 8 bytes."""

_POOL_BYTES: Final = 256 << 20
"""Memory for compressed images, where that is more than the streams need: readers find as many old ones."""

_MOST_SLOTS: Final = 1024


class _Job(NamedTuple):
    """An image that is being compressed."""

    header: ImageHeader
    text: bytes
    raw: Lease
    loan: PebbleLoan
    chunk_bytes: Future[int]
    streamed: bool
    """Whether the full stream waits for it."""


class CompressedFullStream(FullStream):
    """Every image, compressed, PUSH; without compression while that is switched off.

    What is compressed for it counts as queued until it is delivered.
    """

    compressor: "CompressedImages | None" = None
    """Where compressed images come from; it sets itself."""
    _promised: int | None = None

    def has_room(self) -> bool:
        """Return whether a worker has room, beside what it waits for."""
        return len(self._in_flight) + self._queued < self._limit and super().wants_pixels(0, 0.0)

    def wants_pixels(self, pulse_id: int, now: float) -> bool:
        """Return whether a worker has room for what is not compressed, because nothing is."""
        return self.compressor is not None and not self.compressor.enabled and super().wants_pixels(pulse_id, now)

    def promise(self, pulse_id: int) -> None:
        """Let the image that is sent next wait until it is delivered."""
        self._promised = pulse_id

    def deliver(self, header: ImageHeader, chunk: Lease, now: float) -> None:
        """Send an image that it waited for; the lease is taken over."""
        self._queued -= 1
        self.send(header, chunk, now)

    def _send(self, header: ImageHeader, lease: Lease | None, now: float) -> int | None:
        if self._promised == header.head.pulse_id:
            self._promised = None
            return None
        return super()._send(header, lease, now)


class CompressedImages(ImageOutput):
    """Compresses every image that a reader or the consumers of ``full`` ask for, on ``threads`` threads, and publishes each.

    ``segment`` is where the images lie, ``address`` where the notifications come from. At most ``high_water_mark`` images
    wait; further ones are dropped. It must be given each image before ``full`` is.

    For one thread, but for its own threads, and ``stats`` and ``enabled``. Raises HostError when the address cannot be bound.
    """

    name = "compressed"

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        segment: Path,
        high_water_mark: int,
        full: CompressedFullStream,
        *,
        threads: int,
        pulse_id_step: int,
    ) -> None:
        super().__init__(context, address, _NOTIFICATIONS)
        self._limit = high_water_mark
        self._segment, self._pulse_id_step = segment, pulse_id_step
        self._full = full
        full.compressor = self
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="compress")
        self._encoder = Bslz4Encoder()
        self._jobs: deque[_Job] = deque()
        self._pebble: Pebble | None = None
        self._asked = self._streamed = False
        self.ring: Callable[[], None] = lambda: None
        """Is called on a thread when an image is compressed, for ``poll`` to hand it out."""
        self.pixel_bytes = 0
        """Bytes of the images that were compressed, before."""

    def follow(self, shape: tuple[int, ...], pixel_type: np.dtype) -> None:
        """Take memory for images of this shape and type. Raises HostError when there is too little, or no codec."""
        if self._pebble:
            self._pebble.close()
        record = RecordShape(slot_room(prod(shape), pixel_type.itemsize))
        slot_bytes = least_slot_bytes(record)
        least = 1 << (2 * self._limit).bit_length()  # for those that wait, and those that ZMQ holds
        wanted = max(1, min(_POOL_BYTES // slot_bytes, _MOST_SLOTS))
        self._pebble = Pebble(
            self._segment,
            record,
            count=max(least, 1 << wanted.bit_length() - 1),
            slot_bytes=slot_bytes,
            pulse_id_step=self._pulse_id_step,
        )

    @property
    def ratio(self) -> float:
        """How many times as large the images were before; 0 while there was none."""
        return self.pixel_bytes / self._bytes if self._bytes else 0.0

    @property
    def has_consumers(self) -> bool:
        """Whether someone asked for the image that was offered last."""
        return self._asked

    def wants_pixels(self, pulse_id: int, now: float) -> bool:  # noqa: ARG002
        """Return whether someone asks for the image, and there is room for it."""
        self._streamed = self.enabled and self._full.has_room()
        self._asked = self._streamed or (self.enabled and self._publisher.consumers > 0)
        return self._asked and len(self._jobs) < self._limit

    def _send(self, header: ImageHeader, lease: Lease | None, now: float) -> int | None:  # noqa: ARG002
        loan = self._claim(header.head.pulse_id) if lease is not None else None
        if lease is None or loan is None:
            if lease is not None:
                lease.close()
            return 0
        header = replace(header, compression=COMPRESSION)
        text = encode_header(header)
        pixels, room = lease.array.view(header.dtype), loan.data[chunk_start(text) :]
        chunk_bytes = self._threads.submit(self._encoder.encode_into, pixels, room)
        self._jobs.append(_Job(header, text, lease, loan, chunk_bytes, self._streamed))
        chunk_bytes.add_done_callback(lambda _: self.ring())
        if self._streamed:
            self._full.promise(header.head.pulse_id)
        return None

    def poll(self) -> None:
        """Count the readers, and hand out what is compressed, in the order of the images."""
        super().poll()
        while self._jobs and self._jobs[0].chunk_bytes.done():
            self._finish(self._jobs.popleft())

    def finish(self, deadline_s: float) -> None:
        """Hand out what is being compressed, until the deadline (monotonic, s)."""
        wait([job.chunk_bytes for job in self._jobs], max(0.0, deadline_s - time.monotonic()))
        self.poll()

    def close(self) -> None:
        """Stop compressing, and remove the images."""
        self._threads.shutdown(cancel_futures=True)
        for job in self._jobs:
            job.raw.close()
            job.loan.discard()
        self._jobs.clear()
        super().close()
        if self._pebble:
            self._pebble.close()

    def _claim(self, pulse_id: int) -> PebbleLoan | None:
        try:
            return self._pebble.claim(pulse_id) if self._pebble else None
        except PoolExhaustedError:
            return None

    def _finish(self, job: _Job) -> None:
        header, text, raw, loan, compressed, streamed = job
        chunk_bytes, now, head = compressed.result(), time.monotonic(), header.head
        self.pixel_bytes += header.data_bytes
        raw.close()
        put_header(loan.data, text, chunk_bytes, time.monotonic_ns())
        lease = loan.freeze(
            FrameHead(
                head.pulse_id,
                head.frame_index,
                head.daq_rec,
                n_recv_packets=1,
                module_id=0,
                timestamp_ns=head.timestamp_ns,
                damage=Damage(head.damage),
            )
        )
        self._queued -= 1
        self._written += 1
        self._bytes += chunk_bytes
        self._last_sent = now
        if self._publisher.consumers:
            self._publisher.begin(head.pulse_id.to_bytes(8, "little"), 0)
        if streamed:
            start = chunk_start(text)
            self._full.deliver(header, lease.cut(start, start + chunk_bytes), now)
        else:
            lease.close()
