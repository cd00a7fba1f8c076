import struct
import uuid
from pathlib import Path

import numpy as np
import pytest

from detectors.errors import PoolExhaustedError
from detectors.frame import Damage, FrameInfo, RecordShape
from detectors.pools.pebble import Pebble, PebbleReader
from detectors.pools.segment import least_slot_bytes

SHAPE = RecordShape(10_000)


@pytest.fixture
def path():
    path = Path("/dev/shm") / f"pebbledaq-test-{uuid.uuid4().hex}"
    yield path
    path.unlink(missing_ok=True)


def make(path: Path | None = None, count: int = 4, **more) -> Pebble:
    return Pebble(path, SHAPE, count=count, slot_bytes=least_slot_bytes(SHAPE), **more)


def fill(pebble: Pebble, pulse_id: int, *, info: FrameInfo = FrameInfo()):
    loan = pebble.claim(pulse_id)
    loan.data[:] = pulse_id % 251
    return loan.freeze(frame_index=pulse_id + 7, daq_rec=3, n_recv_packets=128, module_id=5, info=info)


def test_a_record_is_the_documented_one():
    pebble = make()
    lease = fill(pebble, 12_345_999)
    wanted = struct.pack("<B5Q", 0xBE, 12_345_999, 12_346_006, 3, 128, 5) + bytes([12_345_999 % 251]) * 10_000
    assert bytes(lease.record) == wanted
    assert bytes(lease.head) == wanted[1:41]
    assert bytes(lease.data) == wanted[41:]
    span, place, offset = lease.span()
    assert offset % 4096 == 0
    assert offset + place == 999 * (41 + 10_000)
    assert bytes(span[place : place + len(wanted)]) == wanted
    lease.close()
    pebble.close()


def test_another_process_reads_what_was_published(path: Path):
    pebble = make(path, info={"detector": "JF", "shape": [50, 100]})
    reader = PebbleReader(path)
    out = np.empty(10_000, np.uint8)
    assert reader.info == {"detector": "JF", "shape": [50, 100]}
    assert reader.read(9, out) is None
    assert reader.missing == 1
    info = FrameInfo(1_700_000_000_000_000_000, Damage.MISSING_DATA, 128, bytes([1]) + bytes(31))
    lease = fill(pebble, 9, info=info)
    copy = reader.read(9, out)
    assert copy is not None
    assert (copy.pulse_id, copy.frame_index, copy.daq_rec, copy.n_recv_packets, copy.module_id) == (9, 16, 3, 128, 5)
    assert copy.info == info
    assert (out == 9).all()
    lease.close()
    pebble.close()
    assert reader.replaced()
    reader.close()
    assert not path.exists()


def test_at_most_count_minus_one_are_in_use():
    pebble = make()
    leases = [fill(pebble, pulse) for pulse in range(3)]
    with pytest.raises(PoolExhaustedError, match="3 of 4 slots"):
        pebble.claim(3)
    leases[0].close()
    leases.append(fill(pebble, 3))
    for lease in leases[1:]:
        lease.close()
    stats = pebble.stats()
    assert (stats.acquires, stats.returns, stats.in_use, stats.high_water) == (4, 4, 0, 3)
    assert (stats.exhausted, stats.out_of_order) == (1, 0)
    pebble.close()
