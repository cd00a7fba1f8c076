import socket as sockets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from detectors.errors import HostError
from detectors.outputs.publisher import Publisher
from tests.support.waiting import until

ANY = "tcp://127.0.0.1:*"


Connect = Callable[..., zmq.Socket[bytes]]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes consumers; ``topic`` None is a SUB that subscribes to nothing."""
    context = zmq.Context()
    made: list[zmq.Socket[bytes]] = []

    def connect(address: str, kind: int = zmq.SUB, topic: bytes | None = b"", rcvhwm: int = 1000) -> zmq.Socket[bytes]:
        socket = context.socket(kind)
        made.append(socket)
        socket.linger = 0
        socket.rcvhwm = rcvhwm
        socket.rcvtimeo = 5000
        if kind == zmq.SUB and topic is not None:
            socket.subscribe(topic)
        socket.connect(address)
        return socket

    yield connect
    for socket in made:
        socket.close()
    context.term()


@pytest.fixture(params=["tcp", "ipc"])
def publisher(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Publisher]:
    publisher = Publisher(ANY if request.param == "tcp" else f"ipc://{tmp_path}/p", 10, linger_ms=0)
    yield publisher
    publisher.close()


def wait_for(publisher: Publisher, consumers: int) -> None:
    def count() -> int:
        publisher.look()
        return publisher.consumers

    until(count, consumers.__eq__)


def settle(publisher: Publisher) -> None:
    """Let everything that peers have sent arrive."""
    end = time.monotonic() + 0.2
    while time.monotonic() < end:
        publisher.look()


def test_subscribers_are_counted_as_they_come_and_go(publisher: Publisher, connect: Connect) -> None:
    first, second = (connect(publisher.address) for _ in range(2))
    wait_for(publisher, 2)
    assert publisher.send(b"head", b"data")
    assert [s.recv_multipart() for s in (first, second)] == [[b"head", b"data"]] * 2
    first.close()
    wait_for(publisher, 1)
    third = connect(publisher.address)
    wait_for(publisher, 2)
    second.close()
    third.close()
    wait_for(publisher, 0)


def test_quick_reconnections_leave_the_count_right(publisher: Publisher, connect: Connect) -> None:
    """Descriptors are used again at once: the end of one connection must not take the next one's subscription."""
    for n in range(60):
        peer = connect(publisher.address)
        if n % 3:
            wait_for(publisher, 1)
        peer.close()
    settle(publisher)
    assert publisher.consumers == 0
    last = connect(publisher.address)
    wait_for(publisher, 1)
    settle(publisher)
    assert publisher.consumers == 1
    assert publisher.send(b"x")
    assert last.recv() == b"x"


def test_a_peer_cannot_change_what_the_others_get(publisher: Publisher, connect: Connect) -> None:
    subscriber = connect(publisher.address)
    wait_for(publisher, 1)
    forger = connect(publisher.address, zmq.XSUB)
    for request in (b"\0", b"\0", b"\0", b"\0x", b"\2", b""):
        forger.send(request)
    settle(publisher)
    assert publisher.consumers == 1
    assert publisher.send(b"x")
    assert subscriber.recv() == b"x"
    for _ in range(3):
        forger.send(b"\1topic")
    wait_for(publisher, 2)
    forger.close()
    wait_for(publisher, 1)


def test_a_connection_that_subscribes_to_nothing_is_no_subscriber(publisher: Publisher, connect: Connect) -> None:
    connect(publisher.address, topic=None)
    settle(publisher)
    assert publisher.consumers == 0


def test_a_peer_that_sends_too_much_is_disconnected(publisher: Publisher, connect: Connect) -> None:
    forger = connect(publisher.address, zmq.XSUB)
    forger.send(b"\1")
    wait_for(publisher, 1)
    forger.send(b"\2" + bytes(2000))
    wait_for(publisher, 0)


def test_a_flood_of_requests_does_not_hold_up_the_stream(
    publisher: Publisher, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detectors.outputs.publisher._MAX_REQUESTS", 10)
    forger = connect(publisher.address, zmq.XSUB)
    for n in range(500):
        forger.send(b"\1%d" % n)
    time.sleep(0.2)
    publisher.look()
    assert publisher.socket.poll(20_000), "the rest is read by the next look"
    until(lambda: publisher.look() or not publisher.socket.poll(50))
    assert publisher.consumers == 1


def test_messages_lost_to_one_are_sent_to_the_others(connect: Connect) -> None:
    publisher = Publisher(ANY, 10, linger_ms=0)
    connect(publisher.address, rcvhwm=1)
    quick = connect(publisher.address)
    wait_for(publisher, 2)
    lost, n = 0, 0
    deadline = time.monotonic() + 20
    while not lost:
        assert time.monotonic() < deadline
        lost += not publisher.send(b"%d" % n, bytes(1 << 20))
        assert quick.recv_multipart()[0] == b"%d" % n
        n += 1
    publisher.close()


def test_a_push_socket_counts_its_workers_and_says_when_none_has_room(connect: Connect) -> None:
    publisher = Publisher(ANY, 1, kind=zmq.PUSH, linger_ms=0)
    assert not publisher.send(b"a", b"b")
    worker = connect(publisher.address, zmq.PULL)
    wait_for(publisher, 1)
    until(lambda: publisher.send(b"a", b"b"))  # the worker's pipe comes a moment after its connection
    assert worker.recv_multipart() == [b"a", b"b"]
    worker.close()
    wait_for(publisher, 0)
    publisher.close()


@pytest.mark.parametrize("kind", [zmq.XPUB, zmq.PUSH])
def test_it_can_wait_for_room(kind: int, connect: Connect) -> None:
    publisher = Publisher(ANY, 1, kind=kind, wait_s=0.05, linger_ms=0)
    peer = connect(publisher.address, zmq.SUB if kind == zmq.XPUB else zmq.PULL, rcvhwm=1)
    wait_for(publisher, 1)
    begun = time.monotonic()
    while publisher.send(b"x", bytes(1 << 20)):
        begun = time.monotonic()
    assert time.monotonic() - begun > 0.04
    assert peer.recv_multipart()[0] == b"x"
    publisher.close()


def test_addresses_that_cannot_be_bound(tmp_path: Path) -> None:
    with sockets.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        expected = f"{address}: cannot publish there: Address already in use; free it or choose another"
        with pytest.raises(HostError, match=expected):
            Publisher(address, 1)
    with pytest.raises(HostError, match="File name too long; set XDG_RUNTIME_DIR to a shorter folder or choose"):
        Publisher(f"ipc://{tmp_path}/{'x' * 108}", 1)


def test_closing_removes_the_socket_and_can_be_repeated(tmp_path: Path) -> None:
    publisher = Publisher(f"ipc://{tmp_path}/p", 1)
    assert (tmp_path / "p").exists()
    publisher.close()
    publisher.close()
    assert not (tmp_path / "p").exists()
