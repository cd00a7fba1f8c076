import gc
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from detectors.buffer.layout import LAST_PULSE
from detectors.buffer.reader import BufferReader
from detectors.buffer.registration import DetectorInfo, register_module
from detectors.buffer.writer import BufferWriter
from detectors.errors import BufferReadError
from detectors.frame import RECORD_HEADER, SIDECAR, Damage, FrameHead
from detectors.mosaic import Chips, ModulePlace, Mosaic
from tests.unit.buffer.make import FrameMaker, RawBuffer, pixels

BASE = 12_345_000


@pytest.fixture
def raw(tmp_path) -> RawBuffer:
    """Modules M00 and M01 with pulses around the edge of a file; M01 lacks two of them."""
    return RawBuffer(tmp_path / "JF").fill(
        (BASE + 2, BASE + 3, BASE + 999, BASE + 1000, BASE + 1001),
        lacking=[("M01", p) for p in (BASE + 3, BASE + 1001)],
    )


def test_a_frame_is_what_was_written(raw):
    reader = BufferReader(raw.folder)
    for pulse_id in (BASE + 2, BASE + 999, BASE + 1000):
        frame = reader.read_frame(pulse_id, "M01")
        assert (frame.module, frame.pulse_id, frame.head.frame_index) == ("M01", pulse_id, pulse_id + 7)
        assert (frame.head.daq_rec, frame.head.n_recv_packets, frame.head.module_id) == (3, 128, 1)
        assert frame.data.dtype == np.dtype("<u2")
        assert frame.head == FrameHead(
            pulse_id, pulse_id + 7, 3, 128, 1, 1_000 + pulse_id, 2_000 + pulse_id, expected_packets=128
        )
        np.testing.assert_array_equal(frame.data, raw.frame("M01", pulse_id))


def test_a_head_says_what_the_sidecar_knows(raw):
    raw.put("M00", BASE + 4, packets=126, missing=b"\5")
    raw.put("M00", BASE + 5, sidecar=False)
    reader = BufferReader(raw.folder, "M00")
    assert reader.read_frame(BASE + 4).head.missing == b"\5" + bytes(63)
    assert not reader.read_frame(BASE + 4).head.is_complete
    assert reader.read_frame(BASE + 5).head[3:] == (128, 0, 0, 0, Damage.NONE, 0, b"")


def test_frames_are_read_only_views_that_outlive_the_reader(raw):
    data = BufferReader(str(raw.folder), "M00").read_frame(BASE + 2).data
    assert not data.flags.writeable
    assert not data.flags.owndata
    np.testing.assert_array_equal(data, raw.frame("M00", BASE + 2))


def test_a_closed_reader_reads_no_more(raw):
    with BufferReader(raw.folder, "M00") as reader:
        data = reader.read_frame(BASE + 2).data
        descriptors = len(os.listdir("/proc/self/fd"))
    reader.close()
    assert len(os.listdir("/proc/self/fd")) < descriptors
    np.testing.assert_array_equal(data, raw.frame("M00", BASE + 2))
    with pytest.raises(BufferReadError, match="the reader is closed"):
        reader.read_frame(BASE + 2)


def test_an_image_has_the_modules_one_below_the_other(raw):
    reader = BufferReader(raw.folder)
    image = reader.read_image(BASE + 999)
    assert image.data.shape == (16, 16)
    assert image.is_complete
    assert reader.is_good(image)
    np.testing.assert_array_equal(image.data[:8], raw.frame("M00", BASE + 999))
    np.testing.assert_array_equal(image.data[8:], raw.frame("M01", BASE + 999))


def test_a_missing_module_is_zeros_only_when_allowed(raw):
    reader = BufferReader(raw.folder)
    with pytest.raises(BufferReadError, match=f"M01: pulse {BASE + 3} is not in the buffer"):
        reader.read_image(BASE + 3)
    image = reader.read_image(BASE + 3, allow_missing=True)
    assert not image.is_complete
    assert not reader.is_good(image)
    assert image.frames[1] is None
    np.testing.assert_array_equal(image.data[:8], raw.frame("M00", BASE + 3))
    assert not image.data[8:].any()
    with pytest.raises(BufferReadError, match="not in the buffer"):
        reader.read_image(BASE + 4, allow_missing=True)


@pytest.mark.parametrize("offset", [0, 1])  # the marker, the pulse_id
def test_a_torn_record_is_named_where_a_missing_one_is_allowed(raw, offset):
    """Finding: it read as a missing one, zeros silently."""
    raw.poke(raw.path("M01", BASE), 2 * raw.record_bytes + offset, b"\x42")
    reader = BufferReader(raw.folder)
    image = reader.read_image(BASE + 2, allow_missing=True)
    assert image.frames[1] is None
    (reason,) = image.unreadable
    assert reason.startswith(f"{raw.path('M01', BASE)}: torn record of pulse {BASE + 2} at byte ")
    assert not reader.read_image(BASE + 3, allow_missing=True).unreadable
    with pytest.raises(BufferReadError, match="torn record"):
        reader.read_image(BASE + 2)
    with pytest.raises(BufferReadError, match="torn record"):
        list(reader.images(BASE, BASE + 999))
    with pytest.raises(BufferReadError, match="torn record"):
        list(reader.frames(BASE, BASE + 999, module="M01"))
    raw.poke(raw.path("M00", BASE), 2 * raw.record_bytes, b"\0")  # not there, and the other torn: that is said
    with pytest.raises(BufferReadError, match="torn record"):
        reader.read_image(BASE + 2, allow_missing=True)


def test_an_image_of_one_module_is_not_copied(raw):
    image = BufferReader(raw.folder, "M00").read_image(BASE + 3)
    assert not image.data.flags.owndata
    np.testing.assert_array_equal(image.data, raw.frame("M00", BASE + 3))


def test_an_image_is_not_good_with_missing_packets_or_another_trigger(raw):
    reader = BufferReader(raw.folder)
    raw.put("M01", BASE + 2, packets=127, missing=b"\1")
    assert not reader.is_good(reader.read_image(BASE + 2))
    raw.put("M01", BASE + 2, packets=127, sidecar=False)
    raw.meta("M01", BASE).unlink()  # without a sidecar the other frames of the file tell
    assert not reader.is_good(reader.read_image(BASE + 2))
    raw.put("M01", BASE + 2)
    assert reader.is_good(reader.read_image(BASE + 2))
    for offset in (9, 17):  # frame_index, daq_rec
        raw.put("M01", BASE + 2)
        raw.poke(raw.path("M01", BASE), 2 * raw.record_bytes + offset, b"\0")
        assert not reader.is_good(reader.read_image(BASE + 2))
    raw.put("M01", BASE + 2)
    assert reader.is_good(reader.read_image(BASE + 2))
    raw.poke(raw.meta("M01", BASE), raw.entry_offset(BASE + 2) + 24, b"\1")  # damage: Truncated
    assert not reader.is_good(reader.read_image(BASE + 2))


@pytest.mark.parametrize(
    ("start", "stop", "step", "expected"),
    [
        (BASE, BASE + 5000, 1, [2, 3, 999, 1000, 1001]),
        (BASE + 3, BASE + 1000, 1, [3, 999, 1000]),
        (BASE + 2, BASE + 2, 1, [2]),
        (BASE + 3, BASE + 1001, 2, [3, 999, 1001]),
        (BASE + 2, BASE + 1001, 997, [2, 999]),
        (BASE + 4, BASE + 998, 1, []),
        (0, 10, 1, []),
    ],
)
def test_a_range_yields_what_is_there(raw, start, stop, step, expected):
    reader = BufferReader(raw.folder, "M00")
    assert [f.pulse_id - BASE for f in reader.frames(start, stop, step)] == expected
    assert [int(p) - BASE for p in reader.pulses(start, stop, step)] == expected


def test_a_range_far_longer_than_the_buffer_takes_no_time(raw):
    reader = BufferReader(raw.folder, "M00")
    assert len(reader.pulses(0, LAST_PULSE)) == 5
    assert reader.file_numbers(BASE + 1000) == [BASE + 1000]
    assert reader.file_numbers(0, BASE + 999) == [BASE]
    assert reader.file_numbers(BASE + 2000) == []


def test_images_of_a_range(raw):
    reader = BufferReader(raw.folder)
    assert [i.pulse_id - BASE for i in reader.images(BASE, BASE + 2000)] == [2, 999, 1000]
    every = list(reader.images(BASE, BASE + 2000, allow_missing=True))
    assert [i.pulse_id - BASE for i in every] == [2, 3, 999, 1000, 1001]


@pytest.mark.parametrize(("start", "stop", "step"), [(-1, 5, 1), (5, 4, 1), (0, 5, 0)])
def test_a_range_that_makes_no_sense_is_refused(raw, start, stop, step):
    with pytest.raises(BufferReadError, match="expected"):
        list(BufferReader(raw.folder, "M00").frames(start, stop, step))


def test_the_metadata_of_a_file_in_one_array(raw):
    heads = BufferReader(raw.folder).metadata(BASE + 5, "M00")
    assert heads.dtype == RECORD_HEADER
    assert heads.shape == (1000,)
    assert np.flatnonzero(heads["marker"]).tolist() == [2, 3, 999]
    assert heads["frame"]["frame_index"][[2, 3, 999]].tolist() == [BASE + 9, BASE + 10, BASE + 1006]
    assert not heads["frame"]["pulse_id"][4:999].any()


def test_the_sidecar_entry(raw):
    reader = BufferReader(raw.folder)
    entry = reader.sidecar(BASE + 3, "M00")
    assert entry is not None
    assert (entry["pulse_id"], entry["timestamp_ns"], entry["expected_packets"]) == (BASE + 3, BASE + 1003, 128)
    assert reader.sidecar(BASE + 4, "M00") is None
    assert reader.sidecar(5, "M00") is None
    assert reader.sidecars(BASE, "M00").dtype == SIDECAR


def test_extent_and_files(raw):
    reader = BufferReader(raw.folder)
    assert reader.extent("M01") == (BASE + 2, BASE + 1000)
    assert reader.files("M00") == [raw.path("M00", BASE), raw.path("M00", BASE + 1000)]
    assert reader.latest("M00") is None
    (raw.folder / "M00" / "LATEST").write_text("12300000/12345000.bin\n")
    assert reader.latest("M00") == raw.path("M00", BASE)
    (raw.folder / "M00" / "LATEST").write_bytes(b"\xff\xfe")
    assert reader.latest("M00") == raw.folder / "M00" / "\ufffd\ufffd"
    empty = RawBuffer(raw.folder.parent / "empty")
    assert BufferReader(empty.folder).extent("M00") is None


def fails(reader: BufferReader, pulse_id: int, module: str | None = "M00") -> str:
    with pytest.raises(BufferReadError) as caught:
        reader.read_frame(pulse_id, module)
    return str(caught.value)


def test_what_cannot_be_read_is_named_exactly(raw):
    reader = BufferReader(raw.folder)
    path, size = raw.path("M00", BASE), raw.record_bytes
    holds = f"M00 holds pulses {BASE + 2} to {BASE + 1001}"
    assert fails(reader, BASE + 4) == (
        f"M00: pulse {BASE + 4} is not in the buffer: found a hole at byte {4 * size} of {path}; {holds}"
    )
    assert fails(reader, 5) == f"M00: pulse 5 is not in the buffer: found no file {raw.path('M00', 5)}; {holds}"
    raw.poke(path, 2 * size, b"\x42")
    assert fails(reader, BASE + 2) == (
        f"{path}: torn record of pulse {BASE + 2} at byte {2 * size}: found marker 0x42, expected 0xbe; "
        "`pebbledaq repair` marks it as a hole"
    )
    raw.poke(path, 3 * size + 1, (77).to_bytes(8, "little"))
    assert f"found pulse_id 77, expected {BASE + 3} at this place" in fails(reader, BASE + 3)
    assert "found no module name, expected one of M00, M01" in fails(reader, BASE, None)
    assert "found no module 'M07', expected one of M00, M01" in fails(reader, BASE, "M07")


def test_a_file_that_was_cut_off_keeps_what_is_whole(raw):
    path = raw.path("M00", BASE)
    with path.open("r+b") as file:
        file.truncate(3 * raw.record_bytes + 50)
    reader = BufferReader(raw.folder)
    assert reader.read_frame(BASE + 2, "M00").pulse_id == BASE + 2
    assert "the file ends 50 bytes into the record, expected 297 bytes" in fails(reader, BASE + 3)
    assert "is not in the buffer: found a hole" in fails(reader, BASE + 999)
    path.write_bytes(b"")
    assert "found a hole" in fails(BufferReader(raw.folder), BASE + 2)


def test_a_file_of_something_else_is_named(raw):
    path = raw.path("M00", BASE)
    with path.open("ab") as file:
        file.write(b"x")
    assert fails(BufferReader(raw.folder), BASE + 2) == (
        f"{path}: found 297002 bytes, expected 297001 (1000 records of 297 and a closing byte); "
        "this is not a file of this detector"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no usable description"),
        ("[]", "no usable description"),
        ('{"dtype": "uint16", "shape": [8, 16], "modules": []}', "KeyError: 'data_bytes'"),
        ('{"dtype": "no", "shape": [8, 16], "data_bytes": 256, "modules": []}', "no usable description"),
        ('{"dtype": "uint16", "shape": [8, 17], "data_bytes": 256, "modules": ["M"]}', "at least the 272"),
        (
            '{"dtype": "uint16", "shape": [8, 16], "data_bytes": 256, "modules": ["M"], "file_mod": 100}',
            "another layout",
        ),
        (
            '{"dtype": "uint16", "shape": [8, 16], "data_bytes": 256, "modules": []}',
            r"found modules '\[\]', expected a list of names",
        ),
        ('{"dtype": "uint16", "shape": [8, 16], "data_bytes": 256, "modules": ["../JF"]}', "expected the name of a"),
        ('{"dtype": "uint16", "shape": [8, 16], "data_bytes": 256, "modules": [".."]}', "expected the name of a"),
        ('{"dtype": "V0", "shape": [8, 16], "data_bytes": 256, "modules": ["M00"]}', "found dtype V0, expected"),
        ('{"dtype": "uint16", "shape": [Infinity], "data_bytes": 256, "modules": ["M00"]}', "found inf, expected"),
        ('{"dtype": "uint16", "shape": [1], "data_bytes": 1e30, "modules": ["M00"]}', r"found 1e\+30, expected"),
        ('{"dtype": "i4,f8", "shape": [1], "data_bytes": 12, "modules": ["M00"]}', "found dtype i4,f8, expected"),
        ('{"dtype": ">u2", "shape": [1], "data_bytes": 2, "modules": ["M00"]}', "found dtype >u2, expected"),
        ('{"dtype": "uint16", "shape": [1.5], "data_bytes": 3, "modules": ["M00"]}', "found 1.5, expected"),
        ('{"dtype": "uint16", "shape": "1", "data_bytes": 2, "modules": ["M00"]}', "found shape 1, expected a list"),
        ('{"dtype": "uint16", "shape": [], "data_bytes": 256, "modules": ["M00"]}', "found an empty shape and 256"),
        ('{"dtype": "uint8", "shape": [1], "data_bytes": 1, "modules": ["M", "M"]}', "found module M 2 times"),
        ('{"dtype": "uint8", "shape": [1], "data_bytes": 1, "modules": "M"}', "found modules 'M', expected a list"),
        ('{"dtype": "uint8", "shape": [1], "data_bytes": 1, "modules": ["a\\n"]}', "expected the name of a folder"),
        ('{"dtype": "uint8", "shape": [1], "data_bytes": 1, "modules": ["\\ud800"]}', "expected the name of a folder"),
        ("[" * 100_000, "RecursionError"),
    ],
)
def test_a_damaged_detector_json_is_one_line(raw, text, message):
    (raw.folder / "detector.json").write_text(text)
    with pytest.raises(BufferReadError, match=message):
        BufferReader(raw.folder)


def test_a_folder_that_is_no_detectors_is_one_line(tmp_path):
    with pytest.raises(BufferReadError, match=r"detector.json: cannot be read: No such file .* give the folder of a"):
        BufferReader(tmp_path)


def test_looking_at_holes_takes_no_memory():
    """On a memory file system a page that is looked at through a map is taken, and there may be none left."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    raw = RawBuffer(folder / "JF", ["M00"], shape=(64, 64))
    for pulse_id in (0, 500, 501, 999):
        raw.put("M00", pulse_id)
    before = raw.path("M00", 0).stat().st_blocks
    reader = BufferReader(raw.folder)
    assert reader.pulses(0, 999).tolist() == [0, 500, 501, 999]
    assert [f.pulse_id for f in reader.frames(0, 999)] == [0, 500, 501, 999]
    fails(reader, 250, "M00")
    assert raw.path("M00", 0).stat().st_blocks == before
    shutil.rmtree(folder)


def test_few_files_stay_mapped(tmp_path):
    raw = RawBuffer(tmp_path / "JF", ["M00"])
    for pulse_id in range(0, 20_000, 1000):
        raw.put("M00", pulse_id)
    before = len(os.listdir("/proc/self/fd"))
    reader = BufferReader(raw.folder)
    frames = list(reader.frames(0, 20_000))
    del frames[1:]
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) - before <= 2 * 2 + 1
    np.testing.assert_array_equal(frames[0].data, raw.frame("M00", 0))


@pytest.mark.parametrize("direct", [True, False])
def test_reading_while_writing(tmp_path, direct):
    frames = FrameMaker(5000)
    sink = BufferWriter(tmp_path, DetectorInfo("uint8", (5000,), frames.shape.data_bytes, ("M00",)), direct=direct)
    reader: BufferReader | None = None
    for done in range(1, 30):
        pulse_id = done * 11 % 30
        with frames.lease(pulse_id) as lease:
            sink.write([lease])
        reader = reader or BufferReader(tmp_path)
        held = [n * 11 % 30 for n in range(1, done + 1)]
        assert reader.pulses(0, 999).tolist() == sorted(held)
        for earlier in held:
            assert reader.read_frame(earlier).data.tobytes() == pixels(earlier, 3, 5000)
    sink.close()


@pytest.mark.parametrize("dtype", ["uint4", "uint4h", "uint12p"])
def test_packed_pixels_are_unpacked(tmp_path, dtype):
    raw = RawBuffer(tmp_path / "P", shape=(8, 16), dtype=dtype).fill([BASE])
    with BufferReader(raw.folder) as reader:
        frame = reader.read_frame(BASE, "M01")
        np.testing.assert_array_equal(frame.data, raw.frame("M01", BASE))
        assert (frame.data.dtype, frame.data.flags.writeable) == (raw.layout.pixel_type, False)
        image = reader.read_image(BASE).data
        np.testing.assert_array_equal(image, np.concatenate([raw.frame(module, BASE) for module in raw.modules]))


def test_an_odd_number_of_packed_pixels_is_refused(tmp_path):
    raw = RawBuffer(tmp_path / "P", shape=(8, 16), dtype="uint12p")
    path = raw.folder / "detector.json"
    path.write_text(path.read_text().replace("[8, 16]", "[7, 15]"))
    with pytest.raises(BufferReadError, match="expected an even number"):
        BufferReader(raw.folder)


@pytest.mark.parametrize("name", ["M00/12300000/12345000.bin", "M00/LATEST", "M00/module.json", "detector.json"])
@pytest.mark.timeout(10)
def test_what_is_no_regular_file_is_refused_and_waited_for_by_nothing(raw, name):
    raw.put("M00", BASE)
    path = raw.folder / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)

    def read() -> None:
        reader = BufferReader(raw.folder)
        reader.latest("M00")
        reader.read_frame(BASE, "M00")

    with pytest.raises(BufferReadError, match=f"{path}: cannot be read: it is not a regular file"):
        read()


def test_a_sidecar_that_cannot_be_read_is_named(raw):
    raw.put("M00", BASE)
    raw.meta("M00", BASE).unlink()
    raw.meta("M00", BASE).mkdir()
    reader = BufferReader(raw.folder)
    for read in (reader.read_frame, reader.sidecar, reader.sidecars):
        with pytest.raises(BufferReadError, match=r"12345000\.meta: cannot be read: Is a directory"):
            read(BASE, "M00")


def test_a_file_in_the_folder_of_other_pulses_is_left_out(raw):
    raw.put("M00", BASE)
    raw.path("M00", BASE).with_name("99000.bin").touch()
    assert 99_000 not in BufferReader(raw.folder).file_numbers(module="M00")


def test_a_scalar_has_an_empty_shape(tmp_path):
    raw = RawBuffer(tmp_path / "PV", ("M00",), shape=(), dtype="float64")
    raw.put("M00", BASE)
    assert BufferReader(raw.folder).read_frame(BASE).data.shape == ()


def test_images_with_gaps(tmp_path):
    raw = RawBuffer(tmp_path / "G").fill([BASE])
    raw.put("M01", BASE + 1)
    chips = Chips(4, 8, 2)
    for module, place in (("M00", ModulePlace(10, 0, "rows", 0, chips)), ("M01", ModulePlace(0, 0, chips=chips))):
        register_module(raw.folder, DetectorInfo("uint16", raw.layout.shape, raw.nbytes, (module,), place=place))
    with BufferReader(raw.folder) as reader:
        mosaic = reader.mosaic()
        whole, part = reader.images(BASE, BASE + 1, allow_missing=True, mosaic=mosaic)
        assert whole.data.shape == (20, 18)
        upper, lower = raw.frame("M01", BASE), raw.frame("M00", BASE)
        np.testing.assert_array_equal(whole.data[:4, 10:], upper[:4, 8:])
        np.testing.assert_array_equal(whole.data[6:10, :8], upper[4:, :8])
        np.testing.assert_array_equal(whole.data[10:14, :8], lower[:3:-1, :8])
        np.testing.assert_array_equal(whole.data[16:, 10:], lower[3::-1, 8:])
        assert not whole.data[4:6].any()
        assert not whole.data[:, 8:10].any()
        assert not part.data[10:].any()
        np.testing.assert_array_equal(part.data[:4, :8], raw.frame("M01", BASE + 1)[:4, :8])
        marked = reader.read_image(BASE, mosaic=Mosaic(raw.layout, mosaic.places, 7))
        assert (marked.data[4:6] == 7).all()


def test_without_places_there_is_no_image_with_gaps(raw):
    with BufferReader(raw.folder) as reader, pytest.raises(BufferReadError, match="found no places of the modules"):
        reader.mosaic()
