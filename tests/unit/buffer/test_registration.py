import errno
import fcntl
import json
import multiprocessing
from pathlib import Path

import pytest

from detectors.buffer.reader import BufferReader
from detectors.buffer.registration import DetectorInfo, module_info, read_detector, register_module
from detectors.errors import BufferReadError, ConfigError
from detectors.mosaic import Chips, ModulePlace
from tests.unit.buffer.make import RawBuffer

NAMES = [f"M{n:02}" for n in range(12)]


def register(folder: Path, module: str, cols: int = 5):
    return register_module(folder, DetectorInfo("uint16", (1, cols), 2 * cols, (module,)))


def test_modules_register_each_in_a_file_of_its_own(tmp_path):
    for module in ("M01", "M00", "M01"):
        register(tmp_path, module)
    described = {
        "format": 1, "dtype": "uint16", "shape": [1, 5], "data_bytes": 10, "record_bytes": 51,
        "file_mod": 1000, "folder_mod": 100000,
    }  # fmt: skip
    for name, modules in (("detector", ["M00", "M01"]), ("M00/module", ["M00"]), ("M01/module", ["M01"])):
        found = json.loads((tmp_path / f"{name}.json").read_text())
        assert found.pop("software")
        assert found == {**described, "modules": modules}


def start_one(folder: Path, module: str, barrier) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    fcntl.flock = refuse  # as on a network file system, for a folder
    barrier.wait()
    register(folder, module)


def test_modules_that_start_at_once_are_all_registered(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(len(NAMES))
    processes = [context.Process(target=start_one, args=(tmp_path, name, barrier)) for name in NAMES]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert BufferReader(tmp_path).modules == tuple(NAMES)


def test_an_entry_that_another_module_overwrote_is_not_lost(tmp_path):
    register(tmp_path, "M00")
    stale = (tmp_path / "detector.json").read_bytes()
    register(tmp_path, "M01")
    (tmp_path / "detector.json").write_bytes(stale)
    assert read_detector(tmp_path).modules == ("M00", "M01")
    register(tmp_path, "M02")
    assert json.loads((tmp_path / "detector.json").read_text())["modules"] == ["M00", "M01", "M02"]


def test_a_folder_of_an_older_version_is_read_and_joined(tmp_path):
    raw = RawBuffer(tmp_path / "JF", shape=(1, 5))
    assert BufferReader(raw.folder).modules == ("M00", "M01")
    register(raw.folder, "M02")
    assert BufferReader(raw.folder).modules == ("M00", "M01", "M02")


def test_a_module_that_registers_other_frames_at_the_same_time_is_refused(tmp_path, monkeypatch):
    def meanwhile(path: Path, data: bytes, *, sync: bool) -> None:
        monkeypatch.undo()
        path.write_bytes(data)
        with pytest.raises(ConfigError, match="M01 sends"):
            register(tmp_path, "M01", cols=7)

    monkeypatch.setattr("detectors.buffer.registration.write_atomically", meanwhile)
    register(tmp_path, "M00")
    assert read_detector(tmp_path).modules == ("M00",)
    assert read_detector(tmp_path).shape == (1, 5)


def test_modules_of_different_frames_in_one_folder_are_named(tmp_path):
    register(tmp_path, "M00")
    register(tmp_path / "other", "M01", cols=7)
    (tmp_path / "other" / "M01").rename(tmp_path / "M01")
    with pytest.raises(BufferReadError, match=r"holds frames of \[1, 7\] uint16 \(14 bytes\), but"):
        BufferReader(tmp_path)


def test_the_place_of_a_module_is_written_down_and_follows_the_configuration(tmp_path):
    for place in (None, ModulePlace(3, 4, "rows", 90, Chips(1, 2, 2)), ModulePlace(0, 0)):
        register_module(tmp_path, DetectorInfo("uint16", (2, 4), 16, ("M00",), place=place))
        register_module(tmp_path, DetectorInfo("uint16", (2, 4), 16, ("M01",)))
        assert module_info(tmp_path / "M00").place == place
        assert read_detector(tmp_path).place is None
        assert "place" not in json.loads((tmp_path / "detector.json").read_text())


@pytest.mark.parametrize(
    "place", ['{"row": 0}', '{"row": 0, "column": -1, "chips": {}}', "7", '{"chips": {"gap": 1e9}}']
)
def test_a_place_that_is_none_is_refused(tmp_path, place):
    register(tmp_path, "M00")
    path = tmp_path / "M00" / "module.json"
    path.write_text(path.read_text().replace('"format": 1,', f'"format": 1, "place": {place},'))
    with pytest.raises(BufferReadError, match="no usable description"):
        module_info(tmp_path / "M00")
