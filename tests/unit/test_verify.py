import lzma
import re
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from detectors.buffer.checks import Checked
from detectors.buffer.reader import BufferReader
from detectors.errors import BufferReadError
from detectors.outputs.hdf5.copy import write_file
from detectors.outputs.hdf5.selection import PulseRange
from detectors.verify import CHECKS, verify
from tests.support.hdf5 import dataset
from tests.unit.buffer.make import RawBuffer
from tests.unit.buffer.spread import Spread

PULSES = (10, 12, 14, 18)


@pytest.fixture
def raw(tmp_path) -> RawBuffer:
    """Two modules with every second pulse; at 16 one module lacks it, at 18 a packet."""
    raw = RawBuffer(tmp_path / "JF").fill(PULSES)
    raw.put("M01", 18, packets=127, missing=b"\4")
    return raw


@pytest.fixture
def file(raw, tmp_path):
    """The same images in an HDF5 file of the documented layout."""
    path = tmp_path / "run.h5"
    with h5py.File(path, "w") as h5:
        group = h5.create_group("data/JF")
        images = [np.vstack([raw.frame(m, p) for m in raw.modules]) for p in PULSES]
        group.create_dataset("data", data=np.stack(images), chunks=(1, 16, 16), **hdf5plugin.Bitshuffle())
        column = {
            "pulse_id": np.array(PULSES, np.uint64),
            "frame_index": np.array(PULSES, np.uint64) + 7,
            "daq_rec": np.full(4, 3, np.uint32),
            "is_good_frame": np.array([1, 1, 1, 0], np.uint8),
        }
        for name, values in column.items():
            group[name] = values[:, None]
    return path


def found(raw, path, **limits) -> list[tuple[str, int | None]]:
    findings = list(verify(BufferReader(raw.folder), path, **limits))
    assert {f.check for f in findings} <= set(CHECKS)
    return [(f.check, f.pulse) for f in findings]


def change(path, name: str, row: int, value) -> None:
    with h5py.File(path, "r+") as h5:
        h5[f"data/JF/{name}"][row] = value


def replace(path, name: str, value) -> None:
    with h5py.File(path, "r+") as h5:
        del h5[f"data/JF/{name}"]
        if value is not None:
            h5[f"data/JF/{name}"] = value


def test_a_file_that_agrees_has_no_findings(raw, file):
    checked = Checked()
    assert list(verify(BufferReader(raw.folder), file, checked=checked)) == []
    assert checked == Checked(files=2, records=8, incomplete=1, images=4)


def test_the_buffers_own_findings_come_too(raw, file):
    raw.poke(raw.path("M00", 0), 12 * raw.record_bytes + 50, b"\x12\x34\x56")
    checked = Checked()
    findings = list(verify(BufferReader(raw.folder), file, checked=checked))
    assert [(f.check, f.pulse) for f in findings] == [("crc", 12), ("hdf5_data", 12)]
    assert checked.findings == 2
    assert found(raw, None) == [("crc", 12)]


def test_a_pixel_that_differs(raw, file):
    with h5py.File(file, "r+") as h5:
        image = h5["data/JF/data"][2]
        image[9, 5] ^= 1
        h5["data/JF/data"][2] = image
    findings = list(verify(BufferReader(raw.folder), file))
    assert [(f.check, f.pulse) for f in findings] == [("hdf5_data", 14)]
    assert findings[0].message == "run.h5: row 2: 1 pixels differ from the buffer, first [9, 5]"


@pytest.mark.parametrize(("name", "value"), [("frame_index", 5), ("daq_rec", 9), ("is_good_frame", 0)])
def test_metadata_that_differ(raw, file, name, value):
    change(file, name, 1, value)
    assert found(raw, file) == [("hdf5_metadata", 12)]


def test_our_own_file_of_modules_that_disagree_is_as_the_buffer_says(raw, tmp_path):
    for pulse_id, offset in ((12, 9), (14, 17)):  # frame_index, daq_rec
        raw.poke(raw.path("M01", pulse_id), pulse_id * raw.record_bytes + offset, b"\x7f")
    write_file(BufferReader(raw.folder), PulseRange(10, 18), tmp_path / "own.h5")
    with h5py.File(tmp_path / "own.h5") as h5:
        assert h5["data/JF/is_good_frame"][:, 0].tolist() == [1, 0, 0, 0]
    assert found(raw, tmp_path / "own.h5") == [("trigger", 12), ("trigger", 14)]


def test_a_frame_with_missing_packets_must_not_be_called_good(raw, file):
    change(file, "is_good_frame", 3, 1)
    assert found(raw, file) == [("hdf5_metadata", 18)]


def test_an_image_may_be_bad_for_a_reason_that_a_buffer_without_sidecars_does_not_know(raw, file):
    for module in raw.modules:
        raw.meta(module, 0).unlink()
    change(file, "is_good_frame", 1, 0)
    assert found(raw, file) == []
    change(file, "is_good_frame", 3, 1)
    assert found(raw, file) == [("hdf5_metadata", 18)]


def test_an_image_that_the_buffer_does_not_have(raw, file):
    change(file, "pulse_id", 3, 19)
    assert ("hdf5_pulse", 19) in found(raw, file)


def test_a_pulse_that_was_filled_in_is_zeros_and_bad(raw, file):
    change(file, "pulse_id", 3, 20)
    change(file, "data", 3, np.zeros((16, 16)))
    assert found(raw, file) == [("hdf5_missing", 18)]  # the file's own range now reaches past it
    change(file, "is_good_frame", 3, 1)
    assert found(raw, file) == [("hdf5_pulse", 20), ("hdf5_missing", 18)]


def test_an_image_that_the_file_does_not_have(raw, file):
    raw.fill((16, 13, 20))  # 13 is not in step with the file, 20 behind its end
    assert found(raw, file) == [("hdf5_missing", 16)]


def test_rows_out_of_order(raw, file):
    with h5py.File(file, "r+") as h5:
        for name in ("data", "pulse_id", "frame_index"):
            both = h5[f"data/JF/{name}"][:2]
            h5[f"data/JF/{name}"][:2] = both[::-1]
    assert found(raw, file) == [("hdf5_order", 10)]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("daq_rec", None, "found no dataset daq_rec in /data/JF"),
        ("pulse_id", np.zeros(4), r"found shapes \{'pulse_id': \(4,\)\}, expected \(4, 1\)"),
        ("pulse_id", np.zeros((4, 1)), r"found types \{'pulse_id': 'float64'\}, expected integers"),
        ("data", np.zeros((4, 16, 15), np.uint16), r"found images of \[16, 15\] uint16, expected \[16, 16\] uint16"),
        ("data", np.zeros((4, 16, 16), np.int16), r"found images of \[16, 16\] int16"),
    ],
)
def test_another_layout(raw, file, name, value, message):
    replace(file, name, value)
    findings = list(verify(BufferReader(raw.folder), file))
    assert [f.check for f in findings] == ["hdf5_layout"]
    assert re.search(message, findings[0].message)


def test_a_file_of_another_detector(raw, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as h5:
        h5.create_group("entry")
    assert found(raw, tmp_path / "other.h5") == [("hdf5_layout", None)]


def test_the_range_limits_what_is_compared(raw, file):
    for row in range(4):
        change(file, "frame_index", row, 0)
    assert found(raw, file, start=12, stop=14) == [("hdf5_metadata", 12), ("hdf5_metadata", 14)]


def test_a_file_that_cannot_be_opened(raw, tmp_path):
    with pytest.raises(BufferReadError, match=r"no\.h5: cannot be opened as HDF5"):
        list(verify(BufferReader(raw.folder), tmp_path / "no.h5"))
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(BufferReadError, match=r"text\.h5: cannot be opened as HDF5"):
        list(verify(BufferReader(raw.folder), tmp_path / "text.h5"))


@pytest.mark.parametrize("signature", [b"TREE", b"HEAP"])
def test_a_damaged_file_is_a_finding(raw, file, signature):
    file.write_bytes(file.read_bytes().replace(signature, b"NONE"))
    (finding,) = verify(BufferReader(raw.folder), file)
    assert finding.check == "hdf5_layout"
    assert finding.message.startswith("run.h5: ")


def test_an_image_that_cannot_be_decoded_is_a_finding(raw, file):
    with h5py.File(file) as h5:
        data = dataset(h5, "data/JF/data")
        chunk = data.id.get_chunk_info(1)
    whole = bytearray(file.read_bytes())
    whole[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\xff" * chunk.size
    file.write_bytes(whole)
    (finding,) = verify(BufferReader(raw.folder), file)
    assert (finding.check, finding.pulse) == ("hdf5_data", 12)
    assert "row 1: cannot be read: " in finding.message


def test_a_file_that_hdf5_never_comes_to_the_end_of_is_refused(raw, tmp_path, monkeypatch):
    monkeypatch.setattr("detectors.outputs.hdf5.checks.PROBE_S", 2.0)
    path = tmp_path / "endless.h5"
    path.write_bytes(lzma.decompress((Path(__file__).parent / "data" / "endless.h5.xz").read_bytes()))
    with pytest.raises(BufferReadError, match="did not open all its objects within 2 s"):
        list(verify(BufferReader(raw.folder), path))


def test_a_file_is_compared_with_the_modules_of_the_hosts_that_are_there(tmp_path):
    spread = Spread(tmp_path, {"daq1": ("M00",), "daq2": ("M01",)}, PULSES)
    path = tmp_path / "all.h5"
    write_file(BufferReader(spread.map), PulseRange(10, 18), path)
    spread.unmount("daq2")
    assert [f.check for f in verify(BufferReader(spread.map), path)] == ["host"]
    with h5py.File(path, "r+") as h5:
        h5["data/JF/data"][1, 3, 4] ^= 1
        h5["data/JF/data"][2, 11, 4] ^= 1  # of the host that is missing
    assert [(f.check, f.pulse) for f in verify(BufferReader(spread.map), path)] == [("host", None), ("hdf5_data", 12)]
    spread.mount("daq2")
    assert [f.pulse for f in verify(BufferReader(spread.map), path)] == [12, 14]
    spread.unmount("daq1")
    spread.unmount("daq2")
    assert [f.check for f in verify(BufferReader(spread.map), path)] == ["host", "host"]


def test_progress_counts_the_files(raw: RawBuffer) -> None:
    raw.fill([1010])
    seen: list[tuple[int, int]] = []
    list(verify(BufferReader(raw.folder), progress=lambda *done: seen.append(done)))
    assert seen == [(1, 2), (2, 2)]
