import pytest

from detectors.buffer import listing
from detectors.buffer.listing import highest_pulse
from detectors.errors import BufferReadError
from tests.unit.buffer.make import FrameMaker, RawBuffer
from tests.unit.buffer.test_writer import write, writer


@pytest.fixture
def raw(tmp_path) -> RawBuffer:
    return RawBuffer(tmp_path / "JF", ("M00",))


def test_there_is_no_highest_pulse_in_a_folder_without_records(raw):
    module = raw.folder / "M00"
    assert highest_pulse(module) is None
    module.mkdir()
    assert highest_pulse(module) is None


def test_the_highest_pulse_is_the_last_record_of_the_highest_file(raw):
    for pulse_id in (12_345_003, 99_999, 100_000, 12_345_001, 7):
        raw.put("M00", pulse_id)
    (raw.folder / "M00" / "999999999").mkdir()  # begins no data folder
    (raw.folder / "M00" / "12300000" / "0123456.bin").touch()
    assert highest_pulse(raw.folder / "M00") == 12_345_003


def test_a_file_and_a_folder_without_records_are_passed_over(raw):
    for pulse_id in (5, 2_000_000):
        raw.put("M00", pulse_id)
    raw.poke(raw.path("M00", 2_000_000), 0, b"\0")
    (raw.folder / "M00" / "3000000").mkdir()
    assert highest_pulse(raw.folder / "M00") == 5


def test_what_cannot_be_read_counts_as_full(raw):
    raw.put("M00", 4_000)
    raw.path("M00", 4_000).write_bytes(bytes(1001 * raw.record_bytes))
    assert highest_pulse(raw.folder / "M00") == 4_999
    (raw.folder / "detector.json").unlink()
    raw.put("M00", 5_000)
    assert highest_pulse(raw.folder / "M00") == 5_999
    with pytest.raises(BufferReadError, match="cannot be read"):
        highest_pulse(raw.path("M00", 5_000))


def test_the_cost_is_bounded_when_many_files_hold_nothing(raw, monkeypatch):
    raw.put("M00", 3)
    for first in range(100_000, 200_000, 1_000):
        raw.put("M00", first)
        raw.poke(raw.path("M00", first), 0, b"\0")
    looked_at: list[object] = []
    real = listing.BinFile
    monkeypatch.setattr(listing, "BinFile", lambda *given: looked_at.append(given) or real(*given))
    assert highest_pulse(raw.folder / "M00") == 183_999
    assert len(looked_at) == 16


def test_a_torn_record_counts(raw):
    raw.put("M00", 10)
    raw.put("M00", 20)
    raw.poke(raw.path("M00", 20), 20 * raw.record_bytes, b"\x55")
    assert highest_pulse(raw.folder / "M00") == 20


def test_what_the_writer_wrote_is_found_at_once(tmp_path):
    frames = FrameMaker(100)
    sink = writer(tmp_path, frames)
    write(sink, frames, 123_456, 99)
    assert highest_pulse(tmp_path / "JF" / "M03") == 123_456
    sink.close()
