"""The order of a pebble's loads and stores on processors that do not keep it by themselves."""

from pathlib import Path

import numpy as np
import pytest

from detectors.frame import RecordShape
from detectors.pools import pebble as pebble_module
from detectors.pools import pebble_reader
from detectors.pools.fence import fence_for
from detectors.pools.pebble import Pebble
from detectors.pools.pebble_reader import PebbleReader
from detectors.pools.segment import ENTRY_BODY, WORDS_PER_ENTRY, least_slot_bytes
from tests.unit.pools.test_pebble import fill

SHAPE = RecordShape(10_000)


@pytest.fixture
def pebble(shm_path: Path):
    pebble = Pebble(shm_path, SHAPE, count=4, slot_bytes=least_slot_bytes(SHAPE))
    yield pebble
    pebble.close()


def test_only_processors_that_keep_the_order_go_without():
    assert fence_for("x86_64") is None
    for machine in ("aarch64", "arm64", "riscv64", "ppc64le", ""):
        fence = fence_for(machine)
        assert fence is not None
        fence()
        fence()


def test_the_writer_fences_behind_odd_and_before_even(pebble: Pebble, monkeypatch: pytest.MonkeyPatch):
    memory = pebble._memory
    assert memory is not None
    seen: list[tuple[int, int]] = []

    def fence() -> None:
        *_, valid = ENTRY_BODY.unpack_from(memory.entries[1])
        seen.append((memory.seq[WORDS_PER_ENTRY] & 1, valid))

    monkeypatch.setattr(pebble_module, "FENCE", fence)
    fill(pebble, 1).close()
    assert seen == [(1, 0), (1, 1)]
    pebble.claim(5).discard()
    assert seen[2:] == [(1, 1), (1, 0)]


@pytest.mark.parametrize("at", [1, 2])
def test_a_reader_fences_between_its_two_looks_at_the_sequence(
    pebble: Pebble, shm_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
):
    fill(pebble, 1).close()
    memory = pebble._memory
    assert memory is not None
    reader = PebbleReader(shm_path)
    fences: list[None] = []

    def fence() -> None:
        fences.append(None)
        if len(fences) == at:
            memory.seq[WORDS_PER_ENTRY] += 2

    monkeypatch.setattr(pebble_reader, "FENCE", fence)
    out = np.empty(SHAPE.data_bytes, np.uint8)
    assert reader.read(1, out) is None
    assert reader.overwritten == 1
    assert reader.read(1, out) is not None
    assert len(fences) == 4
    reader.close()
