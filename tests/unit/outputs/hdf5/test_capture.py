import errno
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.errors import ConfigError, HostError
from detectors.image_head import ImageHead
from detectors.outputs.hdf5.capture import Capture, CaptureRequest, Selector
from detectors.outputs.hdf5.live import FileImage, LiveFile
from detectors.outputs.hdf5.schema import FileLayout
from detectors.pools.buffer_pool import BufferPool
from tests.support.hdf5 import dataset

LAYOUT = FileLayout("JF", ("M00", "M01"), (4, 8), np.dtype("<u2"))
FILE = Path("/tmp/capture.h5")

assert hdf5plugin.FILTERS  # imported for the filters that it registers


def new_capture(path: Path) -> Capture:
    file = LiveFile(path, LAYOUT)
    return Capture(path, LAYOUT, lambda: file, file)


def pixels(pulse_id: int) -> np.ndarray:
    return np.random.default_rng(pulse_id).integers(0, 1000, LAYOUT.image_shape, "<u2")


@given(
    st.sets(st.integers(1, 300), max_size=80).map(sorted),
    st.integers(0, 300),
    st.integers(0, 300),
    st.integers(1, 5),
    st.integers(0, 20),
)
def test_what_belongs_to_a_capture(pulses, start, length, step, images):
    stop = start + length if length else 0
    selector = Selector(CaptureRequest(FILE, images, start, stop, step), 1)
    taken = []
    for pulse_id in pulses:
        taken += [pulse_id] if selector.take(pulse_id) else []
        if selector.past(pulse_id):
            break
    inside = [p for p in pulses if p >= start and (not stop or p <= stop)]
    origin = start or (inside[0] if inside else 0)
    wanted = [p for p in inside if (p - origin) % step == 0]
    assert taken == (wanted[:images] if images else wanted)
    assert selector.taken == len(taken)


def test_an_image_that_could_not_be_had_is_made_up_for():
    selector = Selector(CaptureRequest(FILE, images=1), 1)
    assert selector.take(5)
    assert selector.past(5)
    selector.give_back()
    assert selector.take(6)


def test_wrong_requests_name_every_mistake():
    with pytest.raises(ConfigError) as error:
        CaptureRequest(Path("a.h5"), images=-1, start=9, stop=5, step=0)
    assert [p.split(":")[0] for p in error.value.problems] == ["file", "images", "step", "stop"]


def test_a_file_made_with_the_first_image_is_not_open_before(tmp_path):
    path = tmp_path / "lazy.h5"
    capture = Capture(path, LAYOUT, lambda: LiveFile(path, LAYOUT))
    assert not capture.file_open
    capture.fill(ImageHead(5))
    capture.flush().result(timeout=10)
    assert capture.file_open
    capture.end()
    capture.finish(time.monotonic() + 10)
    assert not capture.file_open


@pytest.mark.parametrize("compress", ["none", "bslz4", "blosc", "lz4", "zlib"])
def test_a_reader_follows_the_file(tmp_path, compress):
    path = tmp_path / "live.h5"
    writer = LiveFile(path, LAYOUT, compress)
    with h5py.File(path, "r", swmr=True) as file:
        data, pulses = dataset(file, "entry/data/data"), dataset(file, "data/JF/pulse_id")
        assert data.shape == (0, 8, 8)
        writer.append([FileImage(ImageHead(7, 17, 1, True, 3), pixels(7))])
        for column in (data, pulses):
            column.refresh()
        assert pulses[:, 0].tolist() == [7]
        np.testing.assert_array_equal(data[0], pixels(7))
        writer.append([FileImage(ImageHead(8)), FileImage(ImageHead(9, 19, 1, False, 1), pixels(9))])
        data.refresh()
        assert data.shape == (3, 8, 8)
        assert not data[1].any()
        np.testing.assert_array_equal(data[2], pixels(9))
    writer.close()
    with h5py.File(path) as file:
        columns = {
            name: item[:, 0].tolist()
            for name, item in file["data/JF"].items()
            if name not in ("data", "missing_packets")
        }  # fmt: skip
        assert columns == {
            "pulse_id": [7, 8, 9],
            "frame_index": [17, 0, 19],
            "daq_rec": [1, 0, 1],
            "is_good_frame": [1, 0, 0],
            "module_mask": [3, 0, 1],
        }
        assert dataset(file, "general/detector_name").asstr()[()] == "JF"
    assert (writer.count, writer.bytes) == (3, 2 * LAYOUT.image_bytes)


@pytest.mark.parametrize(("name", "message"), [("there.h5", "is there already"), ("no/a.h5", "cannot be made")])
def test_a_file_that_cannot_be_made_is_told(tmp_path, name, message):
    (tmp_path / "there.h5").write_text("precious")
    with pytest.raises(HostError, match=message):
        LiveFile(tmp_path / name, LAYOUT)
    assert (tmp_path / "there.h5").read_text() == "precious"


def test_a_capture_writes_all_and_gives_its_memory_back(tmp_path):
    pool = BufferPool(8, LAYOUT.image_bytes)
    capture = new_capture(tmp_path / "a.h5")
    for pulse_id in range(50):
        buffer = pool.acquire()
        buffer.copy_from(pixels(pulse_id))
        capture.offer(ImageHead(pulse_id, pulse_id, 0, True, 3), buffer.freeze())
    capture.fill(ImageHead(50))
    capture.end()
    capture.finish(time.monotonic() + 10)
    assert (capture.written, capture.filled, capture.failed, capture.error) == (50, 1, 0, "")
    assert pool.available == 8
    with h5py.File(tmp_path / "a.h5") as file:
        data = dataset(file, "data/JF/data")
        for pulse_id in range(50):
            np.testing.assert_array_equal(data[pulse_id], pixels(pulse_id))


def test_a_disk_that_refuses_is_counted(tmp_path, monkeypatch):
    pool = BufferPool(4, LAYOUT.image_bytes)
    capture = new_capture(tmp_path / "a.h5")

    def refuse(self, images):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LiveFile, "append", refuse)
    for pulse_id in range(4):
        buffer = pool.acquire()
        buffer.copy_from(pixels(pulse_id))
        capture.offer(ImageHead(pulse_id, pulse_id, 0, True, 3), buffer.freeze())
    capture.end()
    capture.finish(time.monotonic() + 10)
    assert (capture.written, capture.failed) == (0, 4)
    assert "No space left on device" in capture.error
    assert pool.available == 4


def test_images_that_are_not_written_in_time_are_failed_ones(tmp_path, monkeypatch):
    pool = BufferPool(4, LAYOUT.image_bytes)
    capture = new_capture(tmp_path / "a.h5")
    begun, goes_on = threading.Event(), threading.Event()

    def append(_file, _images):
        begun.set()
        assert goes_on.wait(20)

    monkeypatch.setattr(LiveFile, "append", append)
    for pulse_id in range(4):
        buffer = pool.acquire()
        buffer.copy_from(pixels(pulse_id))
        capture.offer(ImageHead(pulse_id, pulse_id, 0, True, 3), buffer.freeze())
        assert begun.wait(20)
    capture.end()
    capture.finish(time.monotonic())
    goes_on.set()
    capture.finish(time.monotonic() + 20)
    assert capture.ended
    assert capture.written + capture.failed == 4
    assert capture.failed >= 2
    assert "the time to write what was queued is over" in capture.error
    assert pool.stats().in_use == 0


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """What a full disk does to a file, for all of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 70_000, 150_000])
def test_a_write_that_fails_leaves_no_rows(tmp_path, room):
    """Finding: the datasets were extended first, and a full disk left rows with pulse_id 0."""
    layout = FileLayout("JF", ("M00",), (128, 256), np.dtype("<u2"))
    path = tmp_path / "full.h5"
    file = LiveFile(path, layout)

    def append(*pulses: int) -> None:
        for pulse_id in pulses:
            file.append([FileImage(ImageHead(pulse_id), np.full(layout.image_shape, pulse_id, "<u2"))])

    append(1)
    with no_file_larger_than(path.stat().st_size + room):
        with pytest.raises(OSError, match="File too large"):
            append(*range(2, 10))
        whole = file.count
        with pytest.raises(OSError, match="unable to extend"):
            file.close()
    with h5py.File(path, swmr=True) as found:
        group = found["data/JF"]
        assert {name: len(group[name]) for name in group} == dict.fromkeys(group, whole)
        assert group["pulse_id"][:, 0].tolist() == list(range(1, whole + 1))
        assert group["data"][:, 0, 0].tolist() == list(range(1, whole + 1))


def test_a_disk_that_was_full_is_written_on(tmp_path, monkeypatch):
    def extend_and_fail(file: LiveFile, _: object) -> None:
        file._data.resize(9, axis=0)
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "again.h5"
    file = LiveFile(path, LAYOUT)
    file.append([FileImage(ImageHead(1), pixels(1))])
    monkeypatch.setattr(LiveFile, "_extend", extend_and_fail)
    with pytest.raises(OSError, match="No space"):
        file.append([FileImage(ImageHead(2), pixels(2))])
    monkeypatch.undo()
    file.append([FileImage(ImageHead(3), pixels(3))])
    file.close()
    with h5py.File(path) as found:
        assert found["data/JF/pulse_id"][:, 0].tolist() == [1, 3]
        assert found["data/JF/data"].shape[0] == 2


def test_a_capture_whose_file_cannot_be_closed_says_so(tmp_path, monkeypatch):
    capture = new_capture(tmp_path / "a.h5")
    monkeypatch.setattr(h5py.File, "close", lambda _: (_ for _ in ()).throw(RuntimeError("unable to extend file")))
    capture.end()
    capture.finish(time.monotonic() + 5)
    assert capture.error == f"{tmp_path}/a.h5: cannot be closed: unable to extend file"
