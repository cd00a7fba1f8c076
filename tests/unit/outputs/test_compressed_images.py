"""One compression for the consumers of the full stream and for workers that read the same memory."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zmq

from detectors.errors import HostError
from detectors.image_head import ImageHead
from detectors.outputs.compressed_images import CompressedFullStream, CompressedImages
from detectors.pools.buffer_pool import BufferPool
from detectors.sources.compressed_images import CompressedSource
from detectors.wire.array10 import ImageHeader, decode_image
from tests.support.stock_bslz4 import read_chunk
from tests.support.waiting import until as wait_until

SHAPE = (64, 130)
NBYTES = 2 * 64 * 130
LIMIT = 4


def header(pulse_id: int) -> ImageHeader:
    return ImageHeader(ImageHead(pulse_id, pulse_id + 5, 1, is_good_frame=True, present=3), "JF", "uint16", SHAPE)


def pixels(pulse_id: int) -> np.ndarray:
    return np.random.default_rng(pulse_id).poisson(3, SHAPE).astype("<u2")


class Streams:
    """What the worker ``stream`` has, and offers its images to."""

    def __init__(self, folder: Path, context: zmq.Context, stack: ExitStack) -> None:
        self.segment, self.stack, self.context = folder / "segment", stack, context
        self.pool = BufferPool(2 * LIMIT, NBYTES)
        self.full = CompressedFullStream(context, f"ipc://{folder}/full", LIMIT)
        self.compressed = CompressedImages(
            context, f"ipc://{folder}/notify", self.segment, LIMIT, self.full, threads=2, pulse_id_step=1
        )
        stack.callback(self.compressed.close)
        stack.callback(self.full.close)
        self.compressed.follow(SHAPE, np.dtype("<u2"))

    def consumer(self, rcvhwm: int = 1000) -> zmq.Socket:
        socket = self.context.socket(zmq.PULL)
        socket.linger, socket.rcvhwm = 0, rcvhwm
        self.stack.callback(socket.close)
        socket.connect(self.full.address)
        self.until(lambda: self.full.stats(0).subscribers == 1)
        return socket

    def source(self) -> CompressedSource:
        source = CompressedSource(self.compressed.address, self.segment)
        self.stack.callback(source.close)
        source.ask(on=True)
        self.until(lambda: self.compressed.stats(0).subscribers == 1)
        return source

    def poll(self) -> None:
        self.full.poll()
        self.compressed.poll()

    def until(self, condition) -> None:
        def there() -> bool:
            self.poll()
            return condition()

        wait_until(there)

    def receive(self, socket: zmq.Socket) -> list[bytes]:
        self.until(lambda: socket.poll(1))
        return socket.recv_multipart()

    def offer(self, pulse_id: int, *, poll: bool = True) -> bool:
        """Offer an image as the worker does; return whether its pixels were wanted."""
        if poll:
            self.poll()
        wanted = {o: o.wants_pixels(pulse_id, 0) for o in (self.compressed, self.full)}
        buffer = self.pool.try_acquire() if any(wanted.values()) else None
        lease = None
        if buffer:
            buffer.copy_from(pixels(pulse_id))
            lease = buffer.freeze()
        for output in (self.compressed, self.full):
            output.send(header(pulse_id), lease.clone() if lease and wanted[output] else None, 0)
        if lease:
            lease.close()
        return any(wanted.values())

    def settle(self) -> None:
        self.until(lambda: not self.compressed.stats(0).queued)
        for output in (self.compressed, self.full):
            stats = output.stats(0)
            assert stats.offered == stats.written + stats.dropped + stats.disabled + stats.queued
            assert stats.queued == 0


@pytest.fixture
def streams(short_runtime_dir: Path) -> Iterator[Streams]:
    with zmq.Context() as context, ExitStack() as stack:
        yield Streams(short_runtime_dir, context, stack)


def test_nobody_asks_and_nothing_is_compressed(streams: Streams) -> None:
    assert not streams.offer(1)
    streams.settle()
    assert (streams.compressed.stats(0).disabled, streams.full.stats(0).disabled) == (1, 1)


def test_one_compression_serves_the_stream_and_the_readers(streams: Streams) -> None:
    worker, source = streams.consumer(), streams.source()
    for pulse_id in range(10, 40):
        assert streams.offer(pulse_id)
        text, data = streams.receive(worker)
        head = json.loads(text)
        assert (head["pulse_id"], head["compression"], head["type"]) == (pulse_id, "bslz4", "uint16")
        np.testing.assert_array_equal(read_chunk(data, "<u2", tuple(head["shape"])), pixels(pulse_id))
        streams.until(lambda pulse_id=pulse_id: source.announced() == pulse_id)
        taken = source.take(pulse_id)
        assert taken is not None
        assert taken.header == replace(header(pulse_id), compression="bslz4")
        assert taken.chunk.tobytes() == data
    streams.settle()
    assert source.newest() == 39
    stats = streams.compressed.stats(0)
    assert (stats.written, stats.dropped, streams.full.stats(0).written) == (30, 0, 30)
    assert streams.compressed.pixel_bytes == 30 * NBYTES
    assert streams.compressed.ratio == pytest.approx(30 * NBYTES / stats.bytes)
    streams.until(lambda: streams.pool.available == 2 * LIMIT)


def test_a_reader_alone_has_every_image_compressed(streams: Streams) -> None:
    source = streams.source()
    room = np.zeros(2 * NBYTES, np.uint8)
    for pulse_id in range(1, 4):
        assert streams.offer(pulse_id)
        streams.until(lambda pulse_id=pulse_id: source.announced() == pulse_id)
        taken = source.take(pulse_id, room)
        assert taken is not None
        assert np.shares_memory(taken.chunk, room)
        np.testing.assert_array_equal(read_chunk(taken.chunk.tobytes(), "<u2", SHAPE), pixels(pulse_id))
    streams.settle()
    assert (streams.compressed.stats(0).written, streams.full.stats(0).disabled) == (3, 3)
    assert source.take(4) is None
    assert source.take(3, room[:10]) is None
    source.ask(on=False)
    streams.until(lambda: streams.compressed.stats(0).subscribers == 0)
    assert not streams.offer(4)


def test_an_old_image_is_not_taken(streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    source = streams.source()
    streams.offer(1)
    streams.until(lambda: source.announced() == 1)
    assert source.take(1) is not None
    later = time.monotonic_ns() + 3_000_000_000
    monkeypatch.setattr("detectors.sources.compressed_images.time.monotonic_ns", lambda: later)
    assert source.take(1) is None
    assert source.newest() == 1


def test_a_compressor_that_is_behind_drops_and_counts(streams: Streams) -> None:
    streams.consumer()
    wanted = [streams.offer(pulse_id, poll=False) for pulse_id in range(1, LIMIT + 4)]
    assert wanted == [True] * LIMIT + [False] * 3
    streams.settle()
    # The stream had promised to send as many as may wait for its consumer: it asked for no more.
    assert (streams.compressed.stats(0).written, streams.compressed.stats(0).disabled) == (LIMIT, 3)
    assert (streams.full.stats(0).written, streams.full.stats(0).dropped) == (LIMIT, 3)
    source = streams.source()
    wanted = [streams.offer(pulse_id, poll=False) for pulse_id in range(11, 11 + LIMIT + 4)]
    assert wanted == [True] * LIMIT + [False] * 4
    streams.settle()
    assert streams.compressed.stats(0).dropped == 4
    assert source.take(11 + LIMIT) is None
    assert source.take(10 + LIMIT) is not None


def test_a_slow_consumer_loses_images_and_the_readers_none(streams: Streams) -> None:
    worker, source = streams.consumer(rcvhwm=1), streams.source()
    for pulse_id in range(1, 200):
        assert streams.offer(pulse_id)
        streams.until(lambda pulse_id=pulse_id: source.announced() == pulse_id)
        assert source.take(pulse_id) is not None
    streams.settle()
    written, dropped = streams.full.stats(0).written, streams.full.stats(0).dropped
    assert dropped > 0
    assert written + dropped == streams.compressed.stats(0).written == 199
    got = [json.loads(streams.receive(worker)[0])["pulse_id"] for _ in range(written)]
    assert got == sorted(got)


def test_switched_off_the_stream_is_not_compressed(streams: Streams) -> None:
    worker = streams.consumer()
    streams.compressed.enabled = False
    assert streams.offer(1)
    head, found = decode_image(streams.receive(worker))
    assert head == header(1)
    np.testing.assert_array_equal(found, pixels(1))
    streams.settle()
    assert streams.compressed.stats(0).disabled == 1


def test_images_of_another_size_have_other_memory(streams: Streams) -> None:
    worker, source = streams.consumer(), streams.source()
    assert streams.offer(1, poll=False)
    streams.compressed.follow((3, *SHAPE), np.dtype("<u4"))
    assert json.loads(streams.receive(worker)[0])["pulse_id"] == 1
    assert source.take(1) is None
    assert streams.offer(2)
    streams.until(lambda: source.announced() == 2)
    assert source.take(2) is not None
    streams.settle()


def test_the_memory_goes_with_its_owner(streams: Streams) -> None:
    source = streams.source()
    assert source.is_there
    assert streams.offer(1)  # it is not done, or not looked at
    streams.full.close()
    streams.compressed.close()
    assert not streams.segment.exists()
    assert not source.is_there
    assert source.take(1) is None
    assert source.newest() is None


def test_an_address_that_cannot_be_used_is_refused(streams: Streams, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot publish there"):
        CompressedImages(
            streams.context,
            f"ipc://{tmp_path}/no/folder",
            streams.segment,
            LIMIT,
            streams.full,
            threads=1,
            pulse_id_step=1,
        )
