import subprocess
import sys

import h5py
import numpy as np
import pytest

from detectors.buffer.reader import BufferReader
from detectors.errors import ConfigError
from detectors.outputs.hdf5.copy import write_file
from detectors.outputs.hdf5.selection import Missing, PulseRange
from detectors.outputs.hdf5.view import SEGMENTS, write_view
from tests.support.hdf5 import dataset
from tests.unit.buffer.make import RawBuffer
from tests.unit.buffer.spread import Spread
from tests.unit.outputs.hdf5.conftest import START

EQUAL = """
import sys, h5py
def tree(path):
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: (item.dtype, item[()])})
                        if isinstance(item, h5py.Dataset) and "/frames/" not in name else None)
    return found
view, copy = tree(sys.argv[1]), tree(sys.argv[2])
assert view.keys() == copy.keys(), (view.keys(), copy.keys())
for name in view:
    assert view[name][0] == copy[name][0], name
    assert getattr(view[name][1], "tobytes", lambda: view[name][1])() == getattr(copy[name][1], "tobytes", lambda: copy[name][1])(), name
print(len(view), "equal")
"""


def check(reader: BufferReader, pulses: PulseRange, tmp_path, missing: Missing = "skip") -> int:
    """Compare a view with the copy, with plain h5py in a process of its own, in another folder."""
    count = write_view(reader, pulses, tmp_path / "view.h5", missing=missing)
    assert write_file(reader, pulses, tmp_path / "copy.h5", missing=missing) == count
    done = subprocess.run(
        [sys.executable, "-c", EQUAL, tmp_path / "view.h5", tmp_path / "copy.h5"],
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
    )
    assert done.stdout == "7 equal\n", done.stderr
    return count


@pytest.mark.parametrize("missing", ["skip", "fill"])
@pytest.mark.parametrize("step", [1, 2, 7])
def test_a_view_of_two_modules_equals_the_copy(reader, tmp_path, missing, step):
    check(reader, PulseRange(START, START + 29, step), tmp_path, missing)


def test_one_module_without_holes_needs_no_virtual_dataset(raw, tmp_path):
    reader = BufferReader(raw.folder, module="M00")
    check(reader, PulseRange(START + 5, START + 29), tmp_path)
    with h5py.File(tmp_path / "view.h5") as file:
        data = dataset(file, "data/JF01/data")
        assert not data.is_virtual
        assert data.external is not None
        first = data.external[0]
        assert (first[1] - 41) % raw.record_bytes == 0
        assert first[2] == raw.nbytes


@pytest.mark.parametrize("missing", ["skip", "fill"])
def test_one_module_with_holes(raw, tmp_path, missing):
    check(BufferReader(raw.folder, module="M01"), PulseRange(START, START + 29), tmp_path, missing)


def test_zeros_stand_for_a_hole_whatever_lies_in_it(raw, reader, tmp_path):
    """A record that was marked as a hole still has its old pixels; they must not come back."""
    for module in raw.modules:
        raw.poke(raw.path(module, START + 9), (START + 9) % 1000 * raw.record_bytes, b"\0")
    check(reader, PulseRange(START, START + 29), tmp_path, "fill")
    with h5py.File(tmp_path / "view.h5") as file:
        data = dataset(file, "data/JF01/data")
        assert not data[9].any()


def test_more_frames_than_one_dataset_holds(tmp_path):
    raw = RawBuffer(tmp_path / "D", modules=("M00",), shape=(2, 2), packets=1)
    count = SEGMENTS + 300
    frames = np.zeros(1000, [("marker", "u1"), ("head", "<u8", 5), ("pixels", "<u2", (2, 2))])
    for first in range(0, count, 1000):
        pulses = np.arange(first, min(first + 1000, count))
        frames[:] = 0
        frames["marker"][: len(pulses)] = 0xBE
        frames["head"][: len(pulses), 0] = pulses
        frames["head"][: len(pulses), 3] = 1
        frames["pixels"][: len(pulses)] = pulses[:, None, None]
        path = raw.path("M00", first)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(frames.tobytes() + b"\xff")
    assert check(BufferReader(raw.folder), PulseRange(0, count - 1), tmp_path) == count
    with h5py.File(tmp_path / "view.h5") as file:
        data = dataset(file, "data/D/data")
        assert data.is_virtual
        assert data[SEGMENTS + 5].tolist() == [[SEGMENTS + 5] * 2] * 2


def test_no_pixel_is_copied(tmp_path):
    raw = RawBuffer(tmp_path / "D", modules=("M00", "M01"), shape=(256, 256), packets=1).fill(range(20))
    write_view(BufferReader(raw.folder), PulseRange(0, 19), tmp_path / "view.h5")
    assert (tmp_path / "view.h5").stat().st_size < 20 * raw.nbytes / 10


def test_packed_pixels_cannot_be_viewed(tmp_path):
    raw = RawBuffer(tmp_path / "P", shape=(8, 16), dtype="uint12p")
    raw.put("M00", 1)
    with pytest.raises(ConfigError, match="packed pixels, uint12p; write a copy"):
        write_view(BufferReader(raw.folder), PulseRange(0, 2), tmp_path / "p.h5")
    assert not (tmp_path / "p.h5").exists()


def test_a_host_that_goes_takes_its_own_rows_of_a_view_only(tmp_path):
    spread = Spread(tmp_path, {"daq1": ("M00",), "daq2": ("M01",)}, range(8))
    write_view(BufferReader(spread.map), PulseRange(0, 7), tmp_path / "view.h5")
    spread.unmount("daq2")
    with h5py.File(tmp_path / "view.h5") as file:
        data = dataset(file, "data/JF/data")
        np.testing.assert_array_equal(data[5, :8], spread.frame("M00", 5))
        with pytest.raises(OSError, match="unable to open external raw data file"):
            data[5]


def test_a_view_over_hosts_equals_the_copy_also_without_one(tmp_path):
    spread = Spread(tmp_path, {"daq1": ("M00", "M01"), "daq2": ("M02",)}, range(8))
    for here, gone in ((tmp_path / "all", ()), (tmp_path / "part", ("M02",))):
        here.mkdir()
        if gone:
            spread.unmount("daq2")
        assert check(BufferReader(spread.map), PulseRange(0, 7), here) == 8
        with h5py.File(here / "view.h5") as file:
            data, masks = dataset(file, "data/JF/data"), dataset(file, "data/JF/module_mask")
            np.testing.assert_array_equal(data[5], spread.image(5, without=gone))
            assert masks[5].tolist() == [0b011 if gone else 0b111]
            frames = dataset(file, "data/JF/frames/M00/0000")
            assert frames.external
            assert frames.external[0][0] == str(spread.buffer("M00").path("M00", 0))
