import pytest

from ioc.demo.rolling import Rolling
from tests.unit.buffer.make import RawBuffer


@pytest.fixture
def buffer(tmp_path):
    made = RawBuffer(tmp_path / "DET", ("M00",))
    for pulse in (5000, 5001, 5999, 6000, 7003):
        made.put("M00", pulse)
    return made


def left(buffer):
    return sorted(p.name for p in (buffer.folder / "M00").glob("*/*"))


def test_old_files_go_with_their_sidecars_and_their_frames_are_counted(buffer):
    rolling = Rolling(buffer.folder, "M00", 5000)
    rolling.keep_from(5999)
    assert (rolling.removed, len(left(buffer))) == (0, 6)
    rolling.keep_from(6000)
    assert (rolling.removed, left(buffer)) == (3, ["6000.bin", "6000.meta", "7000.bin", "7000.meta"])
    rolling.keep_from(9000)
    assert (rolling.removed, left(buffer)) == (5, [])


def test_a_file_that_is_not_there_yet_is_waited_for(buffer):
    rolling = Rolling(buffer.folder, "M00", 4000)
    rolling.keep_from(9000)
    assert (rolling.removed, len(left(buffer))) == (0, 6)
