"""Retroactive files: by pulse_id and by time, and what is said of what is no longer in the buffer."""

import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from detectors.buffer.reader import BufferReader
from detectors.errors import BufferReadError, HostError
from detectors.outputs.hdf5.retro import pulse_after, write_retro
from tests.unit.buffer.make import RawBuffer

NOW_NS = time.time_ns()


@pytest.fixture
def raw(tmp_path: Path) -> RawBuffer:
    return RawBuffer(tmp_path / "DET").fill((*range(990, 1010), *range(2000, 2005)))


@pytest.mark.parametrize("copy", [False, True])
def test_a_range_of_pulses_has_the_pixels_of_the_buffer(raw: RawBuffer, tmp_path: Path, copy: bool) -> None:
    path = tmp_path / "r.h5"
    assert write_retro(raw.folder, 995, 2001, path, now_ns=NOW_NS, copy=copy) == (17, "")
    with h5py.File(path) as file, BufferReader(raw.folder) as reader:
        assert np.array_equal(file["/entry/data/data"][5], reader.read_image(1000).data)


def test_a_time_is_found_in_the_sidecars_across_files(raw: RawBuffer) -> None:
    with BufferReader(raw.folder) as reader:
        stamps = {p: int(reader.sidecar(p, "M00")["timestamp_ns"]) for p in (990, 1005, 2003)}
        assert len(set(stamps.values())) == len(stamps)
        for pulse_id, then_ns in stamps.items():
            assert pulse_after(reader, then_ns, 9) == pulse_id
        assert pulse_after(reader, stamps[990] - 1, 9) == 990
        assert pulse_after(reader, time.time_ns(), 9) == 9


def test_seconds_are_counted_from_the_time_that_is_given(raw: RawBuffer, tmp_path: Path) -> None:
    with BufferReader(raw.folder) as reader:
        first_ns, last_ns = (int(reader.sidecar(p, "M00")["timestamp_ns"]) for p in (1005, 2003))
    now_ns = last_ns + 1
    start, stop = ((then_ns - now_ns) / 1e9 for then_ns in (first_ns, last_ns))
    assert write_retro(raw.folder, start, stop, tmp_path / "r.h5", now_ns=now_ns) == (8, "")
    with h5py.File(tmp_path / "r.h5") as file:
        assert file["data/DET/pulse_id"][:, 0].tolist() == [*range(1005, 1010), 2000, 2001, 2002]


def test_now_is_the_newest_pulse(raw: RawBuffer, tmp_path: Path) -> None:
    assert write_retro(raw.folder, 2000, 0, tmp_path / "r.h5", now_ns=NOW_NS)[0] == 5


def test_what_is_gone_is_said(raw: RawBuffer, tmp_path: Path) -> None:
    images, message = write_retro(raw.folder, 5, 991, tmp_path / "r.h5", now_ns=NOW_NS)
    assert (images, "before 990 are not in the buffer" in message) == (2, True)
    with pytest.raises(BufferReadError, match=r"holds nothing of pulses 5 to 9.*deleted by retention"):
        write_retro(raw.folder, 5, 9, tmp_path / "s.h5", now_ns=NOW_NS)
    assert not (tmp_path / "s.h5").exists()


def test_a_file_is_never_replaced(raw: RawBuffer, tmp_path: Path) -> None:
    (tmp_path / "r.h5").write_bytes(b"mine")
    with pytest.raises(HostError, match="is there already"):
        write_retro(raw.folder, 995, 999, tmp_path / "r.h5", now_ns=NOW_NS)
    assert (tmp_path / "r.h5").read_bytes() == b"mine"
