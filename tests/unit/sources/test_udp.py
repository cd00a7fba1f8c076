import select
import socket
import sys
import time

import numpy as np
import pytest

from detectors.errors import HostError
from detectors.geometry import ModuleGeometry
from detectors.sources.udp import UdpSource
from detectors.wire.packet_block import Landing, PacketBlock
from tests.unit.assembly.packets import MODULE, Packet

GEOMETRY = ModuleGeometry("small", "jungfrau", 16, 32, "uint16", 16)


@pytest.fixture
def sender():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def listen(**options) -> UdpSource:
    return UdpSource(GEOMETRY, "127.0.0.1", 0, ring_count=4, ring_size=1 << 18, **options)


def readable(source: UdpSource, seconds: float) -> bool:
    return bool(select.select([source], [], [], seconds)[0])


def receive(source: UdpSource, count: int) -> int:
    """Receive until ``count`` packets are in one block; loopback delivers before sendto returns."""
    assert readable(source, 5)
    n = source.poll()
    assert n == count
    return n


def test_packets_land_in_the_block(sender: socket.socket):
    source = listen()
    packets = [Packet(7, n, 1234.0, fill=n + 1, daq_rec=9) for n in range(16)]
    for p in packets:
        sender.sendto(p.datagram(GEOMETRY), ("127.0.0.1", source.port))
    n = receive(source, 16)
    block = source.block
    assert block.framenum[:n].tolist() == [7] * 16
    assert block.packetnum[:n].tolist() == list(range(16))
    assert block.pulse[:n].tolist() == [1234.0] * 16
    assert block.headers["moduleID"][:n].tolist() == [MODULE] * 16
    assert block.daq_rec[:n].tolist() == [9] * 16
    assert block.lengths[:n].tolist() == [48 + GEOMETRY.packet_data_bytes] * 16
    assert (block.pixels[:n] == np.arange(1, 17)[:, None]).all()
    source.close()


def test_the_first_packets_import_nothing(sender: socket.socket, monkeypatch: pytest.MonkeyPatch):
    """Finding: np.unique imports numpy.ma the first time; the 40 ms that it took cost frames of the disk."""
    monkeypatch.delattr(np, "ma", raising=False)
    monkeypatch.setitem(sys.modules, "numpy.ma", None)
    source = listen()
    sender.sendto(Packet(7, 0, 1234.0).datagram(GEOMETRY), ("127.0.0.1", source.port))
    receive(source, 1)
    assert source.senders == 1
    source.close()


def test_nothing_there_is_no_packet():
    source = listen()
    assert source.poll() == 0
    assert not readable(source, 0)
    source.close()


def test_true_lengths_of_odd_packets(sender: socket.socket):
    source = listen()
    for length in (0, 1, 48, source.block.packet_bytes, source.block.packet_bytes + 1, 60000):
        sender.sendto(bytes(length), ("127.0.0.1", source.port))
    n = receive(source, 6)
    size = source.block.packet_bytes
    assert source.block.lengths[:n].tolist() == [0, 1, 48, size, size + 1, 60000]
    source.close()


def test_long_packet_does_not_reach_its_neighbour(sender: socket.socket):
    source = listen()
    source.block.pixels[:] = 0xEE
    sender.sendto(bytes(60000), ("127.0.0.1", source.port))
    receive(source, 1)
    assert not source.block.pixels[0].any()
    assert (source.block.pixels[1:] == 0xEE).all()
    source.close()


class Memory:
    """FrameMemory of some rows."""

    def __init__(self, rows: int) -> None:
        self.rows = np.full((rows, 64), 0xEE, np.uint8)
        self.data = self.rows.reshape(-1)
        self.address = self.data.ctypes.data


def test_pixels_land_where_they_are_sent_to(sender: socket.socket):
    source = listen()
    first, second = Memory(3), Memory(12)
    for n in range(16):
        sender.sendto(Packet(7, n, 1.0, fill=n + 1).datagram(GEOMETRY), ("127.0.0.1", source.port))
    assert readable(source, 5)
    n = source.poll((Landing(first, 64, 0, 3), Landing(second, 64, 2, 10)))
    assert n == 16
    assert first.rows[:, 0].tolist() == [1, 2, 3]
    assert second.rows[:, 0].tolist() == [0xEE, 0xEE, *range(4, 14)]
    assert source.block.pixels[13:16, -1].tolist() == [14, 15, 16]
    source.block.gather(n)
    assert source.block.pixels[:16, 5].tolist() == list(range(1, 17))
    sender.sendto(Packet(7, 0, 1.0, fill=99).datagram(GEOMETRY), ("127.0.0.1", source.port))
    receive(source, 1)
    assert source.block.pixels[0, 0] == 99
    assert first.rows[0, 0] == 1
    source.close()


@pytest.mark.parametrize("rest", [0, 3, 16])
def test_first_packets_of_frames_carry_the_time_at_which_the_kernel_got_them(sender: socket.socket, rest: int):
    source = listen()
    for _ in range(3):  # the lengths that the kernel leaves are put right before each call
        sent: list[tuple[int, int]] = []
        for i in range(rest + 40):
            if (i - rest) % 16 == 0:
                time.sleep(0.005)
            before = time.time_ns()
            sender.sendto(Packet(7, i % 16, 1.0).datagram(GEOMETRY), ("127.0.0.1", source.port))
            sent.append((before, time.time_ns()))
        assert readable(source, 5)
        time.sleep(0.01)
        memory = Memory(rest)
        assert source.poll((Landing(memory, 64, 0, rest),) if rest else ()) == len(sent)
        for i in range(rest, len(sent), 16):
            before, after = sent[i]
            assert before <= source.block.arrival_ns(i) <= after, i
        # Of any other packet: within the packets that lie between two stamps.
        for i in range(len(sent)):
            near = sent[max(0, i - 15) : i + 16]
            assert near[0][0] <= source.block.arrival_ns(i) <= near[-1][1], i
    source.close()


def test_without_a_stamp_the_arrival_is_when_the_block_was_filled():
    block = PacketBlock(GEOMETRY, 4)
    block.received, block.received_ns = 4, 77
    assert block.arrival_ns(2) == 77


def test_senders_are_counted_and_told_apart(sender: socket.socket):
    source = listen(source=f"127.0.0.1:{sender.getsockname()[1]}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        for sock in (sender, other, sender, other, other):
            sock.sendto(Packet(1, 0, 1.0).datagram(GEOMETRY), ("127.0.0.1", source.port))
        n = receive(source, 5)
    assert source.block.foreign is not None
    assert source.block.foreign[:n].tolist() == [False, True, False, True, True]
    assert source.senders == 2
    source.close()


def test_without_a_source_some_packets_are_asked_whose_they_are(sender: socket.socket):
    source = listen()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        for n in range(34):
            sock = other if n in (3, 16) else sender
            sock.sendto(Packet(1, n % 8, 1.0).datagram(GEOMETRY), ("127.0.0.1", source.port))
        receive(source, 34)
    assert source.senders == 2
    source.close()


@pytest.mark.parametrize(("host", "foreign"), [("127.0.0.1", False), ("10.9.8.7", True)])
def test_a_source_without_a_port_may_send_from_any_port_of_that_host(sender: socket.socket, host: str, foreign: bool):
    source = listen(source=host)
    sender.sendto(b"x", ("127.0.0.1", source.port))
    receive(source, 1)
    assert source.block.foreign is not None
    assert bool(source.block.foreign[0]) is foreign
    source.close()


def test_kernel_drops_are_counted(sender: socket.socket):
    source = UdpSource(GEOMETRY, "127.0.0.1", 0, ring_count=1, ring_size=1 << 14)
    sent = 300
    for i in range(sent):
        sender.sendto(Packet(i, 0, 1.0).datagram(GEOMETRY), ("127.0.0.1", source.port))
    got = 0
    while n := source.poll():
        got += n
    assert 0 < got < sent
    assert source.ring.stats().overruns == sent - got
    source.close()


def test_port_in_use_is_one_line(sender: socket.socket):
    port = sender.getsockname()[1]
    with pytest.raises(HostError, match=rf"127\.0\.0\.1:{port}: Address already in use: another program"):
        UdpSource(GEOMETRY, "127.0.0.1", port, ring_count=4, ring_size=1 << 18)


def test_address_of_another_host():
    with pytest.raises(HostError, match="no interface of this host"):
        UdpSource(GEOMETRY, "192.0.2.1", 50001, ring_count=4, ring_size=1 << 18)
