import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.errors import SizingError
from detectors.pools import socket_ring
from detectors.pools.socket_ring import SocketRing
from tests.support.waiting import until

PACKET = bytes(8240)


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


def send(receiver: socket.socket, count: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(count):
            sock.sendto(PACKET, receiver.getsockname())


def drain(receiver: socket.socket) -> int:
    count = 0
    while True:
        try:
            receiver.recv(9000)
        except BlockingIOError:
            return count
        count += 1


def test_the_size_granted_by_the_kernel_is_reported(receiver: socket.socket):
    ring = SocketRing(receiver, 2, 1 << 16)
    stats = ring.stats()
    assert (stats.count, stats.size_bytes, stats.total_bytes) == (2, 1 << 16, 1 << 17)
    assert stats.granted_bytes == ring.granted_bytes == 1 << 17  # the kernel says twice that
    assert receiver.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 1 << 18
    assert ring.shortfall() == ""


def test_without_the_capability_the_ordinary_option_is_used(receiver: socket.socket):
    class Limited(socket.socket):
        def setsockopt(self, level, option, value):  # type: ignore[override]
            if option == socket_ring.SO_RCVBUFFORCE:
                raise PermissionError(1, "Operation not permitted")
            super().setsockopt(level, option, min(value, 1 << 18))

    with Limited(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        ring = SocketRing(sock, 80, 1 << 20)
        assert ring.granted_bytes <= 1 << 18
        assert ring.stats().total_bytes == 80 << 20
        assert "sysctl -w net.core.rmem_max=83886080" in ring.shortfall()


def test_a_size_above_the_limit_of_the_kernel_is_reported(receiver: socket.socket):
    ring = SocketRing(receiver, 1 << 16, 1 << 20)
    assert ring.granted_bytes < 1 << 30
    assert "the kernel allows 1,073,741,823" in ring.shortfall()


def test_queued_bytes_are_counted_in_buffers(receiver: socket.socket):
    ring = SocketRing(receiver, 4, 1 << 16)
    assert ring.sample() == 0
    send(receiver, 6)
    until(ring.sample)
    assert 1 <= ring.sample() <= 4
    assert drain(receiver) == 6
    assert ring.sample() == 0
    assert ring.stats().high_water >= 1


def test_packets_that_found_no_room_are_counted_without_a_report(receiver: socket.socket):
    ring = SocketRing(receiver, 1, 1 << 16)
    send(receiver, 100)
    until(lambda: ring.stats().overruns)
    kept = drain(receiver)
    assert ring.stats().overruns == ring.dropped == 100 - kept
    assert 0 < kept < 100


@given(st.lists(st.integers(0, (1 << 31) - 1), max_size=30))
def test_a_count_of_32_bits_that_wraps(steps: list[int]):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        ring = SocketRing(sock, 1, 1 << 16)
        true = 0
        for step in steps:
            true += step
            ring.note_drops(true & 0xFFFFFFFF)
            assert ring.dropped == true
            ring.note_drops(max(true - 5, 0) & 0xFFFFFFFF)  # an older one, read late
            assert ring.dropped == true


def test_a_closed_socket_keeps_its_last_figures(receiver: socket.socket):
    ring = SocketRing(receiver, 1, 1 << 16)
    ring.note_drops(3)
    receiver.close()
    assert ring.stats().overruns == 3


@pytest.mark.parametrize(("count", "size"), [(0, 1), (1, 0)])
def test_empty_rings_are_refused(receiver: socket.socket, count: int, size: int):
    with pytest.raises(SizingError):
        SocketRing(receiver, count, size)
