import os
import shutil

import h5py
import numpy as np
import pytest

from detectors.buffer.reader import BufferReader
from detectors.errors import BufferReadError, ConfigError, HostError
from detectors.outputs.hdf5 import copy
from detectors.outputs.hdf5.copy import write_file
from detectors.outputs.hdf5.selection import PulseRange
from detectors.verify import verify
from tests.support.hdf5 import dataset
from tests.unit.buffer.make import RawBuffer
from tests.unit.outputs.hdf5.conftest import START

RANGE = PulseRange(START, START + 29)


@pytest.mark.parametrize("compress", ["none", "bslz4", "blosc", "lz4", "zlib"])
@pytest.mark.parametrize("missing", ["skip", "fill"])
def test_the_documented_layout(reader, expected_image, tmp_path, compress, missing):
    path = tmp_path / "run.h5"
    seen: list[tuple[int, int]] = []
    count = write_file(
        reader, RANGE, path, compress=compress, missing=missing, progress=lambda d, n: seen.append((d, n))
    )
    pulses = [p for p in range(START, START + 30) if missing == "fill" or p != START + 4]
    assert count == len(pulses)
    assert seen == [(n, count) for n in range(1, count + 1)]
    with h5py.File(path) as file:
        data = dataset(file, "data/JF01/data")
        assert (data.shape, data.dtype, data.chunks) == ((count, 16, 16), np.dtype("<u2"), (1, 16, 16))
        for row, pulse_id in enumerate(pulses):
            np.testing.assert_array_equal(data[row], expected_image(pulse_id))
        for name in ("pulse_id", "frame_index", "daq_rec", "is_good_frame", "module_mask"):
            assert dataset(file, f"data/JF01/{name}").shape == (count, 1)
        assert dataset(file, "data/JF01/pulse_id")[:, 0].tolist() == pulses
        bad = {START + 4, START + 7, START + 12}
        assert dataset(file, "data/JF01/is_good_frame")[:, 0].tolist() == [int(p not in bad) for p in pulses]
        masks = {START + 4: 0b00, START + 7: 0b01}
        assert dataset(file, "data/JF01/module_mask")[:, 0].tolist() == [masks.get(p, 0b11) for p in pulses]
        assert dataset(file, "general/detector_name").asstr()[()] == "JF01"
        assert dataset(file, "entry/data/data") == data
        assert (file.attrs["default"], file["entry"].attrs["NX_class"]) == ("entry", "NXentry")
        assert file["entry/data"].attrs["signal"] == "data"
        assert data.attrs["units"] == "adu"
        assert list(file["data/JF01"].attrs["modules"]) == ["M00", "M01"]
        assert file["data/JF01"].attrs["module_shape"].tolist() == [8, 16]
    assert list(verify(reader, path)) == list(verify(reader, None))
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_images_that_are_not_two_dimensional(tmp_path):
    raw = RawBuffer(tmp_path / "CAM", modules=("M00",), shape=(5, 4, 3), dtype="float32", packets=1)
    raw.put("M00", 7)
    write_file(BufferReader(raw.folder), PulseRange(7, 7), tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        assert dataset(file, "data/CAM/data")[0].tobytes() == raw.frame("M00", 7).tobytes()


def test_a_file_that_is_there_is_not_touched(reader, tmp_path):
    (tmp_path / "run.h5").write_text("precious")
    with pytest.raises(HostError, match="is there already"):
        write_file(reader, RANGE, tmp_path / "run.h5")
    assert (tmp_path / "run.h5").read_text() == "precious"


def test_nothing_appears_when_it_fails_midway(raw, reader, tmp_path, monkeypatch):
    monkeypatch.setattr(copy, "_GROUP_BYTES", 1)  # one image, so that the rest is not read yet
    out = tmp_path / "out"
    out.mkdir()

    def remove(done: int, total: int) -> None:
        shutil.rmtree(raw.folder / "M01", ignore_errors=True)

    with pytest.raises(BufferReadError, match="was it deleted meanwhile"):
        write_file(reader, RANGE, out / "run.h5", progress=remove)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("group_bytes", [1, 1 << 30])
def test_nothing_appears_when_a_file_is_cut_off_midway(raw, reader, tmp_path, monkeypatch, group_bytes):
    monkeypatch.setattr(copy, "_GROUP_BYTES", group_bytes)
    out = tmp_path / "out"
    out.mkdir()

    def cut(done: int, total: int) -> None:
        os.truncate(raw.path("M01", START), 100)

    with pytest.raises(BufferReadError, match="the file was cut off"):
        write_file(reader, RANGE, out / "run.h5", progress=cut)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("compress", ["none", "bslz4", "blosc", "lz4", "zlib"])
def test_the_images_of_one_module(raw, tmp_path, compress):
    reader = BufferReader(raw.folder, "M00")
    pulses = reader.pulses(START, START + 29)
    assert write_file(reader, RANGE, tmp_path / "one.h5", compress=compress) == len(pulses)
    with h5py.File(tmp_path / "one.h5") as file:
        for row, pulse_id in enumerate(pulses.tolist()):
            np.testing.assert_array_equal(dataset(file, "data/JF01/data")[row], raw.frame("M00", pulse_id))


@pytest.mark.parametrize(
    ("folder", "options", "error", "message"),
    [
        ("nowhere", {}, HostError, "its folder is not there"),
        (".", {"compress": "gzip"}, ConfigError, "expected one of none"),
        (".", {"missing": "fill", "pulses": PulseRange(START, START + 10**15)}, HostError, "bytes, free are"),
    ],
)
def test_wrong_requests_are_refused_before_anything_is_made(  # noqa: PLR0917
    reader, tmp_path, folder, options, error, message
):
    options = dict(options)
    pulses = options.pop("pulses", RANGE)
    before = set(tmp_path.iterdir())
    with pytest.raises(error, match=message):
        write_file(reader, pulses, tmp_path / folder / "run.h5", **options)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("compress", ["none", "bslz4"])
@pytest.mark.parametrize("dtype", ["uint4", "uint12p"])
def test_packed_pixels_are_unpacked(tmp_path, dtype, compress):
    raw = RawBuffer(tmp_path / "P", shape=(8, 16), dtype=dtype)
    for pulse_id in range(3):
        for module in raw.modules[: 1 + (pulse_id != 1)]:
            raw.put(module, pulse_id)
    reader = BufferReader(raw.folder)
    assert write_file(reader, PulseRange(0, 2), tmp_path / "p.h5", compress=compress) == 3
    with h5py.File(tmp_path / "p.h5") as file:
        data = dataset(file, "data/P/data")
        assert (data.shape, data.dtype) == ((3, 16, 16), raw.layout.pixel_type)
        for pulse_id in range(3):
            image = reader.read_image(pulse_id, allow_missing=True).data
            np.testing.assert_array_equal(data[pulse_id], image)
            np.testing.assert_array_equal(image[:8], raw.frame("M00", pulse_id))
        assert not data[1, 8:].any()
    assert not [f for f in verify(reader, tmp_path / "p.h5") if f.check.startswith("hdf5")]


@pytest.mark.parametrize("compress", ["none", "bslz4"])
def test_pixels_that_differ_from_their_crc_make_no_file(raw, reader, tmp_path, compress):
    raw.poke(raw.path("M01", START), START % 1000 * raw.record_bytes + 60, b"\x01\x02\x03")
    with pytest.raises(BufferReadError, match=rf"12345000\.bin: the pixels of pulse {START} have CRC32C 0x"):
        write_file(reader, RANGE, tmp_path / "a.h5", compress=compress)
    assert list(tmp_path.glob("*a.h5*")) == []
    later = PulseRange(START + 1, START + 29)
    assert write_file(reader, later, tmp_path / "a.h5", compress=compress) == 28


def test_the_crc_of_padded_frames_covers_the_padding(tmp_path):
    raw = RawBuffer(tmp_path / "JF01", ("M00",))
    raw.put("M00", START)
    text = raw.folder / "detector.json"
    text.write_text(text.read_text().replace("[8, 16]", "[7, 16]"))
    one = PulseRange(START, START)
    assert write_file(BufferReader(raw.folder), one, tmp_path / "a.h5") == 1
    with h5py.File(tmp_path / "a.h5") as file:
        assert dataset(file, "data/JF01/data")[0].tobytes() == raw.frame("M00", START)[:7].tobytes()
    raw.poke(raw.path("M00", START), (START % 1000 + 1) * raw.record_bytes - 2, b"\x00\x00\x00"[:2])
    with pytest.raises(BufferReadError, match="have CRC32C"):
        write_file(BufferReader(raw.folder), one, tmp_path / "b.h5")
