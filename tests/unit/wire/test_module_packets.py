import struct

import numpy as np
import pytest

from detectors.frame import FrameHead
from detectors.geometry import GEOMETRIES, ModuleGeometry
from detectors.wire.module_packets import ModulePackets

SMALL = ModuleGeometry("small", "jungfrau", 8, 16, "uint16", 4)


def test_a_packet_is_the_documented_bytes():
    packets = ModulePackets(SMALL)
    data = np.arange(128, dtype="<u2").reshape(8, 16)
    packets.fill(data, FrameHead(1 << 40, 77, 3, 4, 9, timestamp_ns=12_345_600))
    for number in range(4):
        header = struct.pack("<QIIdQ4HIHBB", 77, 0, number, float(1 << 40), 123_456, 9, 0, 0, 0, 3, 0, 0, 2)
        assert packets.packets[number].tobytes() == header + data[2 * number : 2 * number + 2].tobytes()


@pytest.mark.parametrize("name", GEOMETRIES)
def test_packets_have_the_size_of_their_geometry(name):
    geometry = GEOMETRIES[name]
    packets = ModulePackets(geometry)
    assert packets.packets.shape == (geometry.packets_per_frame, 48 + geometry.packet_data_bytes)


def test_big_endian_headers():
    packets = ModulePackets(ModuleGeometry("b", "sls-big-endian", 4, 8, "uint32", 2))
    packets.fill(np.zeros((4, 8), "<u4"), FrameHead(5, 6, 1 << 32 | 7, 2, 8))
    assert struct.unpack_from(">QIIQQ4HI", packets.packets[1]) == (6, 0, 1, 5, 0, 8, 0, 0, 0, 7)


def test_packets_of_zeros_are_known():
    packets = ModulePackets(SMALL)
    data = np.ones((8, 16), "<u2")
    data[2:4] = 0
    packets.fill(data, FrameHead(1, 1, 0, 4, 0))
    assert packets.blank().tolist() == [False, True, False, False]


def test_the_time_stamp_of_the_detector_is_its_own():
    packets = ModulePackets(SMALL)
    head = FrameHead(1, 1, 0, 4, 0, timestamp_ns=12_345_600, detector_time=(1 << 64) - 1)
    packets.fill(np.zeros((8, 16), "<u2"), head)
    assert struct.unpack_from("<Q", packets.packets[3], 24) == ((1 << 64) - 1,)
