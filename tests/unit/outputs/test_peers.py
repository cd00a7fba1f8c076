"""Peers that keep to no rule, on every kind of stream: none changes what the others get."""

import struct
import time
from collections.abc import Callable, Iterator

import pytest
import zmq

from detectors.outputs.publisher import Publisher
from tests.support.raw_zmtp import RawPeer
from tests.support.waiting import until

ANY = "tcp://127.0.0.1:*"
ENDLESS_MESSAGE = (b"\x01\xff" + bytes(255)) * 100
SUBSCRIPTIONS = b"".join(b"\0\x09\1" + struct.pack("<Q", n) for n in range(1000))
PINGS = b"\x04\x07\x04PING\0\0" * 1000


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    publisher = Publisher(ANY, 100, linger_ms=0)
    yield publisher
    publisher.close()


@pytest.fixture
def subscriber(publisher: Publisher) -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.subscribe(b"")
        socket.connect(publisher.address)
        until(lambda: looked(publisher) == 1)
        yield socket


def looked(publisher: Publisher) -> int:
    publisher.look()
    return publisher.consumers


def stream(publisher: Publisher, subscriber: zmq.Socket[bytes], done: Callable[[], bool], seconds: float = 5.0) -> None:
    """Send and receive every message until ``done``."""
    end = time.monotonic() + seconds
    n = 0
    while not done():
        assert time.monotonic() < end
        publisher.look()
        assert publisher.send(b"%d" % n, b"pixels")
        assert subscriber.poll(20_000)
        assert subscriber.recv_multipart() == [b"%d" % n, b"pixels"]
        n += 1


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(ENDLESS_MESSAGE, id="parts"),
        pytest.param(SUBSCRIPTIONS, id="subscriptions"),
        pytest.param(PINGS, id="pings"),
    ],
)
def test_a_peer_that_floods_is_disconnected_and_the_others_get_everything(
    publisher: Publisher, subscriber: zmq.Socket[bytes], flood: bytes
) -> None:
    before = resident_bytes()
    peer = RawPeer(publisher.address)
    peer.flood(flood)
    try:
        stream(publisher, subscriber, peer.is_cut)
    finally:
        peer.close()
    until(lambda: looked(publisher) == 1)
    assert resident_bytes() - before < 100 << 20
    with zmq.Context() as context, context.socket(zmq.SUB) as late:
        late.subscribe(b"")
        late.connect(publisher.address)
        until(lambda: looked(publisher) == 2)


@pytest.mark.parametrize("kind", [b"SUB", b"XSUB"])
@pytest.mark.parametrize("flags", [b"\x02", b"\x03", b"\x06"], ids=["message", "part", "command"])
def test_a_claim_of_2_gib_ends_the_connection(
    publisher: Publisher, subscriber: zmq.Socket[bytes], kind: bytes, flags: bytes
) -> None:
    peer = RawPeer(publisher.address, kind)
    peer.send(flags + struct.pack(">Q", 2 << 30))
    stream(publisher, subscriber, peer.is_cut)
    peer.close()


@pytest.mark.parametrize("garbage", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 100, bytes(1000)])
def test_what_is_no_zmq_counts_for_nothing(publisher: Publisher, subscriber: zmq.Socket[bytes], garbage: bytes) -> None:
    peer = RawPeer(publisher.address, b"")
    peer.send(garbage)
    end = time.monotonic() + 0.3
    stream(publisher, subscriber, lambda: time.monotonic() > end)
    assert publisher.consumers == 1
    peer.close()


def test_heartbeats_and_many_topics_are_no_flood(publisher: Publisher) -> None:
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.heartbeat_ivl, socket.heartbeat_timeout = 50, 5000
        for n in range(100):
            socket.subscribe(b"topic %d" % n)
        socket.connect(publisher.address)
        until(lambda: looked(publisher) == 1)
        end = time.monotonic() + 1
        while time.monotonic() < end:
            assert looked(publisher) == 1


def test_a_handshake_that_does_not_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectors.outputs.publisher._HANDSHAKE_MS", 200)
    publisher = Publisher(ANY, 1, linger_ms=0)
    peer = RawPeer(publisher.address, b"")
    until(peer.is_cut)
    peer.close()
    publisher.close()


def test_connections_beyond_the_limit_are_closed_but_no_subscriber_s(
    publisher: Publisher, subscriber: zmq.Socket[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detectors.outputs.peers._MOST", 5)
    peers = [RawPeer(publisher.address, b"") for _ in range(20)]
    stream(publisher, subscriber, lambda: sum(peer.is_cut() for peer in peers) == 16, 20)
    for peer in peers:
        peer.close()


def test_peers_that_reconnect_between_two_looks_do_not_hold_up_the_stream(
    publisher: Publisher, subscriber: zmq.Socket[bytes]
) -> None:
    for _ in range(1500):
        RawPeer(publisher.address).close()
    publisher.send(b"x")
    assert subscriber.poll(20_000)
    assert subscriber.recv() == b"x"
    assert looked(publisher) <= 1
    assert publisher.look_again
    until(lambda: looked(publisher) == 1 and not publisher.look_again)


def test_a_silent_connection_is_no_consumer_of_a_push_socket() -> None:
    publisher = Publisher(ANY, 10, kind=zmq.PUSH, linger_ms=0)
    peer = RawPeer(publisher.address, b"")
    with zmq.Context() as context, context.socket(zmq.PULL) as worker:
        worker.connect(publisher.address)
        until(lambda: looked(publisher) == 1)
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            assert looked(publisher) == 1
        assert publisher.send(b"x")
        assert worker.recv() == b"x"
    peer.close()
    publisher.close()
