import struct

import numpy as np

from detectors.frame import FRAME_HEAD, MODULE_FRAME, Damage, FrameHead
from detectors.pools.segment import ENTRY_BODY, SLOT_ENTRY

HEAD = FrameHead(1, 2, 3, 4, 5, 6, 7, Damage.MISSING_DATA, 8, bytes([7]) + bytes(63))


def test_the_module_frame_is_the_documented_40_bytes():
    assert HEAD.module_frame == struct.pack("<5Q", 1, 2, 3, 4, 5)
    assert FrameHead.from_module_frame(memoryview(HEAD.module_frame), 8) == (1, 2, 3, 4, 5, 0, 0, Damage.NONE, 8, b"")


def test_a_head_has_the_fields_of_its_array_type_and_of_a_slot():
    assert FRAME_HEAD.names == HEAD._fields
    assert FRAME_HEAD.names[:5] == MODULE_FRAME.names
    packed = bytes(8) + ENTRY_BODY.pack(*HEAD, 1) + bytes(52)
    entry = np.frombuffer(packed, SLOT_ENTRY)[0]
    assert entry["valid"] == 1
    assert entry["head"].tobytes() == packed[8:136]
    assert entry["head"].item()[:9] == HEAD[:9]
    assert entry["head"]["missing"].tobytes() == HEAD.missing


def test_a_head_knows_whether_its_frame_is_whole():
    assert not HEAD.is_complete
    assert HEAD._replace(n_recv_packets=8).is_complete
    assert FrameHead(1, 2, 3, 4, 5, expected_packets=0).is_complete
