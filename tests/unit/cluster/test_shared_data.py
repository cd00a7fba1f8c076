import pickle
from pathlib import Path

import pytest

from detectors.buffer.reader import BufferReader
from detectors.cluster.shared_data import SharedData
from detectors.errors import BufferReadError
from tests.unit.buffer.make import RawBuffer
from tests.unit.buffer.spread import Spread

HOSTS = {"daq1": ("M00", "M01"), "daq2": ("M02", "M03"), "daq3": ("M04",)}


@pytest.fixture
def spread(tmp_path: Path) -> Spread:
    return Spread(tmp_path, HOSTS, (10, 11))


def test_a_worker_opens_the_same(spread: Spread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = SharedData.of(BufferReader(spread.map.relative_to(tmp_path)))
    monkeypatch.chdir("/")
    there: SharedData = pickle.loads(pickle.dumps(data))  # noqa: S301
    assert (there.open().read_image(11).data == spread.image(11)).all()
    one = there.open("M03", "M00")
    assert one.modules == ("M03", "M00")
    assert (one.read_image(10).data[:8] == spread.frame("M03", 10)).all()


def test_what_the_command_saw_and_the_worker_does_not_is_an_error(spread: Spread) -> None:
    data = SharedData.of(BufferReader(spread.map))
    spread.unmount("daq2")
    with pytest.raises(BufferReadError, match=r"^on .*: .*M02 of host daq2 cannot be seen: .*; mount it on the hosts"):
        data.open()
    assert data.open("M00", "M04").modules == ("M00", "M04")
    missing = SharedData.of(BufferReader(spread.map))
    assert set(missing.open().missing) == {"M02", "M03"}


def test_a_module_that_has_written_nothing_is_no_error(tmp_path: Path) -> None:
    raw = RawBuffer(tmp_path / "JF01")
    raw.put("M00", 10)
    assert SharedData.of(BufferReader(raw.folder)).open().modules == ("M00", "M01")


def test_the_host_that_has_most_modules(spread: Spread) -> None:
    data = SharedData.of(BufferReader(spread.map))
    assert data.host("M00", "M02", "M03") == "daq2"
    assert [data.host("M00", "M02", "M04", turn=turn) for turn in range(4)] == ["daq1", "daq2", "daq3", "daq1"]
    assert data.host() == ""
