import pytest

from detectors.buffer.inventory import Inventory, take_inventory
from detectors.buffer.reader import BufferReader
from tests.unit.buffer.make import RawBuffer

BASE = 12_345_000


@pytest.fixture
def raw(tmp_path) -> RawBuffer:
    """Two modules, every second pulse of two files; M01 lacks two pulses, and of a third a packet."""
    raw = RawBuffer(tmp_path / "JF").fill(
        range(BASE + 990, BASE + 1010, 2), lacking=[("M01", p) for p in (BASE + 994, BASE + 996)]
    )
    raw.put("M01", BASE + 1000, packets=127, missing=b"\4")
    return raw


def inventory(raw: RawBuffer) -> Inventory:
    with BufferReader(raw.folder) as reader:
        return take_inventory(reader)


def test_a_module_that_holds_all_has_one_range(raw):
    found = inventory(raw)
    module = found.modules["M00"]
    assert found.step == 2
    assert (module.files, module.records, module.holes, module.incomplete) == (2, 10, 0, 0)
    assert module.ranges == [(BASE + 990, BASE + 1008)]
    assert module.disk_bytes == sum(
        path.stat().st_blocks * 512 for path in (raw.folder / "M00").rglob("*") if path.suffix in (".bin", ".meta")
    )


def test_holes_split_ranges_and_incomplete_frames_are_counted(raw):
    found = inventory(raw)
    module = found.modules["M01"]
    assert module.ranges == [(BASE + 990, BASE + 992), (BASE + 998, BASE + 1008)]
    assert (module.records, module.holes, module.incomplete, module.torn) == (8, 2, 1, 0)
    assert (found.whole, found.partial) == (8, 2)


def test_a_torn_record_is_no_record(raw):
    raw.poke(raw.path("M00", BASE + 992), 992 * raw.record_bytes, b"\x42")
    module = inventory(raw).modules["M00"]
    assert (module.records, module.torn, module.holes) == (9, 1, 1)


def test_times_are_those_of_the_sidecars(raw):
    module = inventory(raw).modules["M00"]
    with BufferReader(raw.folder, "M00") as reader:
        frames = list(reader.frames(BASE, BASE + 1999))
    assert (module.begin_ns, module.end_ns) == (frames[0].head.timestamp_ns, frames[-1].head.timestamp_ns)


def test_what_cannot_be_read_is_named_and_the_rest_is_shown(raw):
    raw.path("M00", BASE).unlink()
    raw.path("M00", BASE).mkdir()
    found = inventory(raw)
    assert len(found.unreadable) == 1
    assert found.modules["M00"].records == 5


def test_an_empty_detector(tmp_path):
    found = inventory(RawBuffer(tmp_path / "JF"))
    assert (found.whole, found.partial, found.step) == (0, 0, 1)
    assert found.modules["M00"].ranges == []
