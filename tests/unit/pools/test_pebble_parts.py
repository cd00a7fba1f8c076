"""Parts of what is in a pebble: leased, and copied by readers that decide by the data itself how much."""

from pathlib import Path

import numpy as np
import pytest

from detectors.errors import UseAfterReleaseError
from detectors.frame import FrameHead, RecordShape
from detectors.pools.pebble import Pebble
from detectors.pools.pebble_reader import PebbleReader
from detectors.pools.segment import least_slot_bytes

SHAPE = RecordShape(1000)


def make(path: Path) -> Pebble:
    return Pebble(path, SHAPE, count=4, slot_bytes=least_slot_bytes(SHAPE))


def fill(pebble: Pebble, pulse_id: int) -> None:
    loan = pebble.claim(pulse_id)
    loan.data[:] = pulse_id
    loan.freeze(FrameHead(pulse_id, 0, 0, 1, 0)).close()


def test_a_lease_is_cut_to_a_part(shm_path: Path) -> None:
    pebble = make(shm_path)
    loan = pebble.claim(7)
    loan.data[:] = np.arange(1000) % 251
    lease = loan.freeze(FrameHead(7, 0, 0, 1, 0))
    part = lease.cut(10, 15)
    assert (bytes(part), len(part)) == (bytes([10, 11, 12, 13, 14]), 5)
    with pytest.raises(UseAfterReleaseError):
        lease.cut(0, 1)
    assert pebble.stats().in_use == 1
    part.close()
    assert pebble.stats().in_use == 0
    pebble.close()


def test_a_reader_copies_what_it_wants(shm_path: Path) -> None:
    pebble = make(shm_path)
    reader = PebbleReader(shm_path)
    assert reader.newest() is None
    assert reader.copy(0, bytes) is None
    for pulse_id in (5, 6):
        fill(pebble, pulse_id)
    assert reader.newest() == 6
    assert reader.copy(5, lambda data: data[:3].tobytes()) == bytes([5, 5, 5])
    assert reader.copy(9, bytes) is None
    loan = pebble.claim(9)
    assert reader.copy(5, bytes) is None  # being overwritten
    loan.discard()
    assert reader.newest() == 6
    reader.close()
    with pytest.raises(UseAfterReleaseError):
        reader.copy(6, bytes)
    pebble.close()


def test_a_copy_of_what_is_overwritten_meanwhile_is_thrown_away(shm_path: Path) -> None:
    pebble = make(shm_path)
    reader = PebbleReader(shm_path)
    fill(pebble, 1)

    def late(data: np.ndarray) -> bytes:
        fill(pebble, 5)
        return data.tobytes()

    assert reader.copy(1, late) is None
    assert reader.copy(5, lambda data: data[0]) == 5
    reader.close()
    pebble.close()
