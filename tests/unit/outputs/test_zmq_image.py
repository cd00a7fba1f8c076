import time

import numpy as np
import pytest
import zmq

from detectors.errors import HostError
from detectors.image_head import ImageHead
from detectors.outputs.zmq_image import FullStream, PartStream, PulseStream, ReducedStream
from detectors.pools.buffer_pool import BufferPool
from detectors.wire.array10 import ImageHeader, decode_image

SHAPE = (256, 256)
NBYTES = 2 * 256 * 256  # above ZMQ's copy threshold, so that leases are really held


def header(pulse_id: int) -> ImageHeader:
    return ImageHeader(ImageHead(pulse_id, pulse_id, 0, True), "JF", "uint16", SHAPE)


@pytest.fixture
def context():
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture
def pool():
    return BufferPool(16, NBYTES)


def image(pool: BufferPool, pulse_id: int):
    buffer = pool.try_acquire()
    assert buffer is not None
    buffer.array.view("<u2")[:] = pulse_id
    buffer.set_len(NBYTES)
    return buffer.freeze()


def until(condition, *outputs, timeout_s=20):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        for output in outputs:
            output.poll()


def consumer(context, kind, address, rcvhwm=1000):
    socket = context.socket(kind)
    socket.linger = 0
    socket.rcvhwm = rcvhwm
    if kind == zmq.SUB:
        socket.subscribe(b"")
    socket.connect(address)
    return socket


def receive(socket):
    assert socket.poll(20_000)
    return socket.recv_multipart()


def check_balance(output):
    stats = output.stats(0)
    assert stats.offered == stats.written + stats.dropped + stats.disabled + stats.queued
    return stats


def test_full_without_a_consumer_wants_nothing(context):
    full = FullStream(context, "tcp://127.0.0.1:*", 4)
    full.poll()
    assert not full.wants_pixels(1, 0)
    full.send(header(1), None, 0)
    stats = check_balance(full)
    assert (stats.offered, stats.disabled, stats.subscribers) == (1, 1, 0)
    full.close()


def test_full_shares_all_images_among_the_workers(context, pool):
    full = FullStream(context, "tcp://127.0.0.1:*", 8)
    workers = [consumer(context, zmq.PULL, full.address) for _ in range(2)]
    until(lambda: full.stats(0).subscribers == 2, full)
    received = []
    for pulse_id in range(1, 21):
        until(lambda: full.wants_pixels(1, 0), full)
        full.send(header(pulse_id), image(pool, pulse_id), 0)
        for worker in workers:
            while worker.poll(0):
                received.append(decode_image(worker.recv_multipart()))
    for worker in workers:
        while worker.poll(300):
            received.append(decode_image(worker.recv_multipart()))
    assert sorted(h.head.pulse_id for h, _ in received) == list(range(1, 21))
    assert all(pixels is not None and (pixels == h.head.pulse_id).all() for h, pixels in received)
    until(lambda: pool.available == 16, full)
    assert check_balance(full).written == 20
    for socket in (full, *workers):
        socket.close()


def test_full_drops_and_counts_when_its_worker_is_slow(context, pool):
    full = FullStream(context, "tcp://127.0.0.1:*", 3)
    worker = consumer(context, zmq.PULL, full.address, rcvhwm=1)
    until(lambda: full.stats(0).subscribers == 1, full)
    sent = []
    for pulse_id in range(1, 400):
        full.poll()
        wanted = full.wants_pixels(1, 0)
        full.send(header(pulse_id), image(pool, pulse_id) if wanted else None, 0)
        if wanted:
            sent.append(pulse_id)
    stats = check_balance(full)
    assert stats.dropped > 300
    assert pool.available >= 16 - 3
    got = [decode_image(receive(worker))[0].head.pulse_id for _ in sent]
    assert got == sent
    assert stats.written == len(sent)
    for socket in (full, worker):
        socket.close()


def test_full_has_room_again_when_zmq_has_let_go_of_pixels(context, pool):
    full = FullStream(context, "tcp://127.0.0.1:*", 3)
    worker = consumer(context, zmq.PULL, full.address)
    until(lambda: full.stats(0).subscribers == 1, full)
    for pulse_id in range(1, 4):
        full.send(header(pulse_id), image(pool, pulse_id), 0)
    for _ in range(3):
        receive(worker)
    until(lambda: full.wants_pixels(4, 0))  # many images may be sent between two polls
    for socket in (full, worker):
        socket.close()


def test_full_notices_that_its_consumer_left(context):
    full = FullStream(context, "tcp://127.0.0.1:*", 3)
    worker = consumer(context, zmq.PULL, full.address)
    until(lambda: full.stats(0).subscribers == 1, full)
    worker.close()
    until(lambda: full.stats(0).subscribers == 0, full)
    assert not full.wants_pixels(1, 0)
    full.close()


def test_reduced_sends_every_header_and_some_images(context, pool):
    reduced = ReducedStream(context, "tcp://127.0.0.1:*", 100, rate_hz=16)
    subscribers = [consumer(context, zmq.SUB, reduced.address) for _ in range(2)]
    until(lambda: reduced.stats(0).subscribers == 2, reduced)
    for n in range(100):  # at 64 Hz
        now = 1024 + n / 64
        lease = image(pool, n) if reduced.wants_pixels(1, now) else None
        reduced.send(header(n), lease, now)
        until(lambda: pool.available > 0, reduced)
    for subscriber in subscribers:
        messages = [decode_image(receive(subscriber)) for _ in range(100)]
        assert [h.head.pulse_id for h, _ in messages] == list(range(100))
        with_pixels = [h.head.pulse_id for h, pixels in messages if pixels is not None]
        assert with_pixels == list(range(0, 100, 4))
        assert all((pixels == h.head.pulse_id).all() for h, pixels in messages if pixels is not None)
    stats = check_balance(reduced)
    assert (stats.written, stats.dropped, reduced.with_pixels) == (100, 0, 25)
    until(lambda: pool.available == 16, reduced)
    for socket in (reduced, *subscribers):
        socket.close()


def test_a_pause_is_not_made_up_for(context, pool):
    reduced = ReducedStream(context, "tcp://127.0.0.1:*", 100, rate_hz=10)
    subscriber = consumer(context, zmq.SUB, reduced.address)
    until(lambda: reduced.stats(0).subscribers == 1, reduced)
    reduced.send(header(0), image(pool, 0), 1000.0)
    assert reduced.wants_pixels(1, 1060.0)
    reduced.send(header(1), image(pool, 1), 1060.0)
    assert not reduced.wants_pixels(1, 1060.09)
    for socket in (reduced, subscriber):
        socket.close()


def test_a_slow_subscriber_loses_and_a_quick_one_does_not(context, tmp_path):
    pulse = PulseStream(context, f"ipc://{tmp_path}/pulse", 10)
    slow, quick = (consumer(context, zmq.SUB, pulse.address, rcvhwm=10) for _ in range(2))
    until(lambda: pulse.stats(0).subscribers == 2, pulse)
    n = 0
    while not pulse.stats(0).dropped:
        assert n < 1_000_000
        pulse.poll()
        pulse.send(header(n), None, 0)
        assert receive(quick) == [n.to_bytes(8, "little")]
        n += 1
    stats = check_balance(pulse)
    assert stats.written + stats.dropped == n
    assert slow.poll(0)
    for socket in (pulse, slow, quick):
        socket.close()


def test_a_stream_that_is_switched_off_sends_nothing(context, pool):
    reduced = ReducedStream(context, "tcp://127.0.0.1:*", 100, rate_hz=10)
    subscriber = consumer(context, zmq.SUB, reduced.address)
    until(lambda: reduced.stats(0).subscribers == 1, reduced)
    reduced.enabled = False
    assert not reduced.wants_pixels(1, 1000.0)
    reduced.send(header(1), None, 1000.0)
    stats = check_balance(reduced)
    assert (stats.disabled, stats.state, stats.enabled) == (1, "Off", False)
    reduced.enabled = True
    reduced.send(header(2), None, 1000.0)
    assert decode_image(receive(subscriber))[0].head.pulse_id == 2
    for socket in (reduced, subscriber):
        socket.close()


@pytest.mark.parametrize("kind", [FullStream, PulseStream])
def test_an_address_in_use_is_one_line(context, kind):
    first = PulseStream(context, "tcp://127.0.0.1:*", 1)
    with pytest.raises(HostError, match=f"{first.address}: cannot publish there"):
        kind(context, first.address, 1)
    first.close()


def test_pixels_are_not_copied(context, pool):
    """What ZMQ sends is the slot's own memory: inproc hands over the very same bytes."""
    full = FullStream(context, "inproc://full", 4)
    worker = consumer(context, zmq.PULL, "inproc://full")
    full._publisher.consumers = 1  # inproc connections have no monitor events
    lease = image(pool, 5)
    address = lease.array.ctypes.data
    full.send(header(5), lease, 0)
    assert worker.poll(20_000)
    _, frame = worker.recv_multipart(copy=False)
    assert np.frombuffer(frame.buffer, np.uint8).ctypes.data == address
    del frame
    for socket in (full, worker):
        socket.close()


def test_a_part_has_pixels_of_the_pulses_that_all_hosts_choose(context, pool):
    part = PartStream(context, "tcp://127.0.0.1:*", 4, pulse_id_step=2, every=5)
    subscriber = consumer(context, zmq.SUB, part.address)
    until(lambda: part.stats(0).subscribers == 1, part)
    chosen = [pulse_id for pulse_id in range(1, 61, 2) if part.wants_pixels(pulse_id, 0)]
    assert chosen == [1, 11, 21, 31, 41, 51]  # 1 // 2 = 0, 11 // 2 = 5, ...
    for pulse_id in (1, 3, 11):
        part.send(header(pulse_id), image(pool, pulse_id) if pulse_id == 1 else None, 0)
    got = [decode_image(receive(subscriber)) for _ in range(3)]
    assert [(h.head.pulse_id, pixels is not None) for h, pixels in got] == [(1, True), (3, False), (11, False)]
    stats = check_balance(part)
    assert (stats.written, stats.dropped) == (2, 1)  # the pixels of 11 were wanted
    for socket in (part, subscriber):
        socket.close()
