"""``pebbledaq write`` as people call it."""

import subprocess
import sys

import h5py
import hdf5plugin
import pytest

from tests.support.hdf5 import dataset
from tests.unit.buffer.make import RawBuffer

assert hdf5plugin.FILTERS  # imported for the filters that it registers


def write(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ioc", "write", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def raw(tmp_path) -> RawBuffer:
    return RawBuffer(tmp_path / "JF01").fill(range(100, 120))


@pytest.mark.parametrize("options", [(), ("--view",), ("--compression", "bslz4"), ("--missing", "fill")])
def test_a_range_to_a_file(raw, tmp_path, options):
    done = write(raw.folder, "--start", 101, "--stop", 110, "--step", 3, "-o", tmp_path / "a.h5", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{tmp_path}/a.h5: 4 images of 2 modules" in done.stdout
    with h5py.File(tmp_path / "a.h5") as file:
        data = dataset(file, "entry/data/data")
        assert dataset(file, "data/JF01/pulse_id")[:, 0].tolist() == [101, 104, 107, 110]
        assert data[3, 8:].tobytes() == raw.frame("M01", 110).tobytes()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--start", 9, "--stop", 5), 2, "--stop: found 5, expected 9"),
        (("--start", 1, "--stop", 5), 1, "holds no pulse of 1 to 5"),
        (("--start", 1, "--stop", 5, "--step", 0), 2, "0 is not in the range x>=1"),
        (("--start", 100, "--stop", 105, "--view", "--compression", "blosc"), 2, "--view: copies nothing"),
        (("--start", "x", "--stop", 105), 2, "found 'x', expected a pulse_id"),
    ],
)
def test_wrong_requests_are_told_and_leave_nothing(raw, tmp_path, options, code, message):
    done = write(raw.folder, *options, "-o", tmp_path / "a.h5")
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["JF01"]


def test_a_folder_that_is_no_detector(tmp_path):
    done = write(tmp_path, "--start", 1, "--stop", 2, "-o", tmp_path / "a.h5")
    assert done.returncode == 2
    assert "give the folder of a detector" in done.stderr


def test_a_record_with_wrong_pixels_is_named_and_the_exit_code_is_not_0(raw, tmp_path):
    raw.poke(raw.path("M00", 105), 105 * raw.record_bytes + 60, b"\x01\x02\x03")
    done = write(raw.folder, "--start", 100, "--stop", 110, "-o", tmp_path / "a.h5")
    assert done.returncode == 1
    assert "the pixels of pulse 105 have CRC32C" in done.stderr
    assert not (tmp_path / "a.h5").exists()
