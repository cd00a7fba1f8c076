import socket
import threading

import pytest

from detectors.config import TimingSection
from detectors.errors import HostError
from detectors.pools.dma import DmaRing
from detectors.run_state import Service
from detectors.sources.timing_receiver import DATAGRAM_BYTES, TimingReceiver
from detectors.wire.timing import TimingEvent, encode_timing, parse_timing
from tests.support.ports import free_ports


class Bell:
    """Counts rings, and waits for them."""

    def __init__(self) -> None:
        self.rings = 0
        self._changed = threading.Condition()

    def __call__(self) -> None:
        with self._changed:
            self.rings += 1
            self._changed.notify_all()

    def wait_for(self, rings: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.rings >= rings, 5), f"{self.rings} of {rings} came"


def section(address: str = "127.0.0.1") -> TimingSection:
    return TimingSection(port=free_ports(1)[0], address=address)


def send(port: int, *datagrams: bytes, to: str = "127.0.0.1") -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        for datagram in datagrams:
            sock.sendto(datagram, (to, port))


def event(n: int) -> bytes:
    return encode_timing(TimingEvent(Service.L1_ACCEPT, n, n, n))


def test_datagrams_come_out_of_the_ring_in_order() -> None:
    ring, bell = DmaRing(8, 4096), Bell()
    receiver = TimingReceiver(section(), ring, bell)
    try:
        send(receiver.port, event(1), b"garbage", event(2), bytes(DATAGRAM_BYTES + 100))
        bell.wait_for(4)
    finally:
        receiver.close()
    seen = []
    while (buffer := ring.read()) is not None:
        seen.append(bytes(buffer.data))
        buffer.release()
    assert [parse_timing(seen[0]).pulse_id, seen[1], parse_timing(seen[2]).pulse_id] == [1, b"garbage", 2]
    assert len(seen[3]) == DATAGRAM_BYTES


def test_a_full_ring_counts_what_it_loses() -> None:
    ring, bell = DmaRing(3, 4096), Bell()
    receiver = TimingReceiver(section(), ring, bell)
    try:
        send(receiver.port, *(event(n) for n in range(5)))
        bell.wait_for(5)
    finally:
        receiver.close()
    assert ring.stats().overruns == 2
    kept = []
    while (buffer := ring.read()) is not None:
        kept.append(parse_timing(buffer.data).pulse_id)
        buffer.release()
    assert kept == [0, 1, 2]


def test_a_port_in_use_is_one_line() -> None:
    one = section()
    receiver = TimingReceiver(one, DmaRing(2, 64), lambda: None)
    try:
        with pytest.raises(HostError, match=rf"cannot listen on UDP 127.0.0.1:{one.port}: Address already in use"):
            TimingReceiver(one, DmaRing(2, 64), lambda: None)
    finally:
        receiver.close()
    TimingReceiver(one, DmaRing(2, 64), lambda: None).close()


def test_a_multicast_group_is_shared() -> None:
    group = section("239.255.71.19")
    bells = Bell(), Bell()
    try:
        receivers = [TimingReceiver(group, DmaRing(8, 4096), bell) for bell in bells]
    except HostError as error:
        pytest.skip(f"no multicast on this host: {error}")
    try:
        send(group.port, event(1), to=group.address)
        for bell in bells:
            bell.wait_for(1)
    finally:
        for receiver in receivers:
            receiver.close()


@pytest.mark.parametrize("address", ["nonsense", "::1"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(HostError, match="expected an IPv4 address"):
        TimingReceiver(section(address), DmaRing(2, 64), lambda: None)
