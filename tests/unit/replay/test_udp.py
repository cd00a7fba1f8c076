import socket
import struct

import numpy as np
import pytest

from detectors.buffer.reader import BufferReader
from detectors.errors import ConfigError
from detectors.replay.udp import UdpTarget, find_geometry
from tests.unit.buffer.make import RawBuffer


@pytest.fixture
def raw(tmp_path) -> RawBuffer:
    return RawBuffer(tmp_path / "JF")


@pytest.fixture
def sockets():
    found = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for sock in found:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(2)
    yield found
    for sock in found:
        sock.close()


def sent(raw: RawBuffer, sockets, pulse_id: int, counts: list[int]) -> list[list[bytes]]:
    """The packets that each module's socket got; 8 packets a frame."""
    reader = BufferReader(raw.folder)
    target = UdpTarget(reader, find_geometry(reader, "jungfrau:8"), [s.getsockname() for s in sockets])
    target.ready()
    assert target.send(reader.read_image(pulse_id, allow_missing=True), 0.001) == sum(counts)
    target.close()
    packets = [[sock.recv(9000) for _ in range(count)] for sock, count in zip(sockets, counts, strict=True)]
    for sock in sockets:
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(1)
    return packets


def test_each_module_gets_its_packets(raw, sockets):
    for module in raw.modules:
        raw.put(module, 5, packets=8)
    raw.meta("M00", 5).unlink()
    for module, packets in zip(raw.modules, sent(raw, sockets, 5, [8, 8]), strict=True):
        timestamp = 0 if module == "M00" else 2005
        for number, packet in enumerate(packets):
            assert len(packet) == 48 + 32
            head = struct.unpack("<QIIdQ4HIHBB", packet[:48])
            assert head == (12, 0, number, 5.0, timestamp, raw.modules.index(module), 0, 0, 0, 3, 0, 0, 2)
            assert packet[48:] == raw.frame(module, 5)[number].tobytes()


def test_packets_that_were_missing_are_missing_again(raw, sockets):
    raw.put("M00", 5, packets=6, missing=bytes([0b1001_0000]))
    packets = sent(raw, sockets, 5, [6, 0])[0]
    assert [struct.unpack_from("<I", p, 12)[0] for p in packets] == [0, 1, 2, 3, 5, 6]


def test_without_a_sidecar_packets_of_zeros_are_the_missing_ones(raw, sockets):
    data = raw.frame("M01", 5).copy()
    data[2] = data[6] = 0
    raw.put("M01", 5, packets=6, data=data.tobytes(), sidecar=False)
    packets = sent(raw, sockets, 5, [0, 6])[1]
    assert [struct.unpack_from("<I", p, 12)[0] for p in packets] == [0, 1, 3, 4, 5, 7]


def test_a_frame_of_zeros_lacks_as_many_packets_as_it_lacked(raw, sockets):
    raw.put("M01", 5, packets=7, data=bytes(raw.nbytes), sidecar=False)
    assert len(sent(raw, sockets, 5, [0, 7])[1]) == 7


@pytest.mark.parametrize(
    ("shape", "dtype", "name"),
    [
        ((512, 1024), "uint16", "jungfrau"),
        ((256, 1024), "uint16", "jungfrau-half"),
        ((256, 512), "uint32", "eiger-32"),
        ((256, 512), "uint12p", "eiger-12"),
    ],
)
def test_a_known_geometry_is_recognised(tmp_path, shape, dtype, name):
    reader = BufferReader(RawBuffer(tmp_path / "d", shape=shape, dtype=dtype).folder)
    assert find_geometry(reader).name == name
    assert find_geometry(reader, name).name == name
    with pytest.raises(ConfigError, match=r"eiger-16 has frames of \[256, 512\] uint16"):
        find_geometry(reader, "eiger-16")


def test_a_geometry_that_does_not_fit_is_refused(raw, tmp_path):
    reader = BufferReader(raw.folder)
    assert find_geometry(reader, "sls:4").packet_data_bytes == 64
    for text, message in (
        (None, r"found frames of \[8, 16\] uint16; give one of"),
        ("pilatus", "found 'pilatus', expected one of jungfrau"),
        ("sls:3", "do not divide"),
        ("other:4", "found 'other', expected one of"),
    ):
        with pytest.raises(ConfigError, match=message):
            find_geometry(reader, text)
    flat = BufferReader(RawBuffer(tmp_path / "flat", shape=(128,)).folder)
    with pytest.raises(ConfigError, match="expected rows and columns"):
        find_geometry(flat, "sls:4")


def test_every_module_needs_an_address(raw):
    reader = BufferReader(raw.folder)
    with pytest.raises(ConfigError, match="found 1 addresses, expected one for each of M00, M01"):
        UdpTarget(reader, find_geometry(reader, "sls:4"), [("127.0.0.1", 9)])


def test_pixels_of_any_type_pass_unchanged(tmp_path, sockets):
    raw = RawBuffer(tmp_path / "f", ["M00"], shape=(8, 4), dtype="float32")
    raw.put("M00", 1)
    reader = BufferReader(raw.folder)
    target = UdpTarget(reader, find_geometry(reader, "jungfrau:2"), [sockets[0].getsockname()])
    target.send(reader.read_image(1), 0.0)
    target.close()
    data = b"".join(sockets[0].recv(9000)[48:] for _ in range(2))
    assert data == np.ascontiguousarray(raw.frame("M00", 1)).tobytes()


def test_packed_pixels_are_sent_as_they_came(tmp_path, sockets):
    raw = RawBuffer(tmp_path / "p", ["M00"], shape=(16, 64), dtype="uint12p")
    data = raw.put("M00", 3, packets=8)[41:]
    reader = BufferReader(raw.folder)
    target = UdpTarget(reader, find_geometry(reader, "sls:8"), [sockets[0].getsockname()])
    assert target.send(reader.read_image(3), 0.001) == 8
    target.close()
    assert b"".join(sockets[0].recv(9000)[48:] for _ in range(8)) == data


def test_header_fields_beyond_those_of_a_packet_are_cut_to_them(raw, sockets):
    raw.put("M00", 5, packets=8)
    raw.poke(raw.path("M00", 5), 5 * raw.record_bytes + 9, b"\xff" * 32)
    head = struct.unpack_from("<QIIdQH", sent(raw, sockets, 5, [8, 0])[0][0])
    assert (head[0], head[5]) == ((1 << 64) - 1, 0xFFFF)
