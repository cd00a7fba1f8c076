import errno
import fcntl
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.buffer.checks import Checked, check_buffer
from detectors.buffer.reader import BufferReader
from detectors.buffer.registration import DetectorInfo
from detectors.buffer.sidecar import read_sidecar
from detectors.buffer.writer import BufferWriter
from detectors.errors import ConfigError, HostError
from detectors.frame import SIDECAR_PRESENT, Damage, RecordShape
from tests.unit.buffer.make import FrameMaker, RawBuffer, pixels, record

NBYTES = 5000
BASE = 12_345_000


@pytest.fixture(params=["disk", "memory"])
def root(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder on the file system of the root, and one in memory: direct writes work differently."""
    folder = Path(tempfile.mkdtemp(prefix="buffer-", dir="/var/tmp" if request.param == "disk" else "/dev/shm"))
    yield folder
    shutil.rmtree(folder)


def writer(folder: Path, frames: FrameMaker, **options) -> BufferWriter:
    nbytes = frames.shape.data_bytes
    return BufferWriter(folder / "JF", DetectorInfo("uint8", (nbytes,), nbytes, ("M03",)), **options)


def write(sink: BufferWriter, frames: FrameMaker, *pulses: int, data: bytes | None = None) -> None:
    for pulse_id in pulses:
        with frames.lease(pulse_id, data=data) as lease:
            assert sink.write([lease])


def stored(folder: Path, pulse_id: int, nbytes: int = NBYTES) -> bytes:
    """The bytes at the documented place."""
    path = folder / "JF" / "M03" / f"{pulse_id // 100000 * 100000}" / f"{pulse_id // 1000 * 1000}.bin"
    with path.open("rb") as file:
        file.seek(pulse_id % 1000 * (41 + nbytes))
        return file.read(41 + nbytes)


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("nbytes", [1, 60, NBYTES, 8192 - 41, 1 << 20])
def test_every_record_lies_at_its_place(root, nbytes, direct):
    frames = FrameMaker(nbytes)
    sink = writer(root, frames, direct=direct)
    # in order, a gap, out of order, the ends of a file, of a folder, and back
    pulses = [0, 1, 2, 5, 4, 999, 998, 1000, 997, 99_999, 100_000, 99_998, BASE + 999, BASE]
    for done, pulse_id in enumerate(pulses, 1):
        write(sink, frames, pulse_id)
        for earlier in pulses[:done]:  # and none damages another, nor waits for the next
            assert stored(root, earlier, nbytes) == record(earlier, 3, nbytes), (pulse_id, earlier)
    sink.close()
    for path in (root / "JF" / "M03").glob("*/*.bin"):
        data = path.read_bytes() if nbytes < 10_000 else None
        assert path.stat().st_size == 1000 * (41 + nbytes) + 1
        if data is not None:
            assert data[-1] == 0xFF
            held = [p for p in pulses if p // 1000 * 1000 == int(path.stem)]
            markers = [i for i in range(1000) if data[i * (41 + nbytes)] != 0]
            assert markers == sorted(p % 1000 for p in held)


def test_a_record_takes_one_direct_write_of_whole_sectors(tmp_path, monkeypatch):
    frames = FrameMaker(NBYTES)
    sink = writer(tmp_path, frames)
    write(sink, frames, 10)
    calls: list[tuple[bool, int, int]] = []
    real = os.pwrite

    def watched(fd: int, data: memoryview, offset: int) -> int:
        calls.append((bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT), offset, len(data)))
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", watched)
    write(sink, frames, 11, 12)
    monkeypatch.undo()
    sink.close()
    ends = [(p * (41 + NBYTES) // 4096 * 4096, -(-(p + 1) * (41 + NBYTES) // 4096) * 4096) for p in (11, 12)]
    assert calls == [(True, start, stop - start) for start, stop in ends]


def test_a_large_payload(tmp_path):
    frames = FrameMaker(20 << 20)
    sink = writer(tmp_path, frames)
    write(sink, frames, 1, 2, data=bytes(range(256)) * (20 << 12))
    sink.close()
    for pulse_id in (1, 2):
        assert stored(tmp_path, pulse_id, 20 << 20) == record(pulse_id, 3, 0, data=bytes(range(256)) * (20 << 12))


def test_a_restart_continues_in_the_same_file_and_counts_what_it_replaces(root):
    frames = FrameMaker(NBYTES)
    sink = writer(root, frames)
    write(sink, frames, BASE + 1, BASE + 3, BASE + 4)
    sink.close()
    sink = writer(root, frames)
    write(sink, frames, BASE + 2, BASE + 3, BASE + 5)
    assert sink.figures.overwritten == 1
    write(sink, frames, BASE + 5, data=bytes(NBYTES))
    stats = sink.figures
    sink.close()
    assert (stats.overwritten, stats.bytes, stats.folder) == (2, 4 * (41 + NBYTES), str(root / "JF"))
    for pulse_id in range(BASE + 1, BASE + 5):
        assert stored(root, pulse_id) == record(pulse_id, 3, NBYTES)
    assert stored(root, BASE + 5) == record(BASE + 5, 3, 0, data=bytes(NBYTES))


@settings(max_examples=40, deadline=None)
@given(
    direct=st.booleans(),
    memory=st.booleans(),
    nbytes=st.sampled_from([1, 500, 4055, NBYTES]),
    steps=st.lists(
        st.tuples(
            st.sampled_from([0, 1, 2, 3, 10, 995, 996, 997, 998, 999, 1000, 1001, 2000, 5000]), st.integers(0, 255)
        )
        | st.just("restart"),
        max_size=25,
    ),
)
def test_any_sequence_leaves_what_a_dict_would(direct, memory, nbytes, steps):
    root = Path(tempfile.mkdtemp(prefix="buffer-", dir="/dev/shm" if memory else "/var/tmp"))
    frames = FrameMaker(nbytes)
    sink = writer(root, frames, direct=direct)
    model: dict[int, bytes] = {}
    replaced = 0
    try:
        for step in steps:
            if step == "restart":
                sink.close()
                replaced -= sink.figures.overwritten
                sink = writer(root, frames, direct=direct)
                continue
            pulse_id, fill = step
            replaced += pulse_id in model
            model[pulse_id] = bytes([fill]) * nbytes
            write(sink, frames, pulse_id, data=model[pulse_id])
        assert sink.figures.overwritten == replaced
        sink.close()
        for path in (root / "JF" / "M03").glob("*/*.bin"):
            data, first, size = path.read_bytes(), int(path.stem), 41 + nbytes
            assert len(data) == 1000 * size + 1
            assert data[-1] == 0xFF
            held = {p: v for p, v in model.items() if p // 1000 * 1000 == first}
            assert {first + i for i in range(1000) if data[i * size]} == set(held)
            for pulse_id, value in held.items():
                start = pulse_id % 1000 * size
                assert data[start : start + size] == record(pulse_id, 3, 0, data=value)
    finally:
        sink.close()
        shutil.rmtree(root)


SIDECAR_HEADER = struct.pack("<8sII112x", b"PEBMETA\xff", 2, 128)


def test_the_sidecar_says_what_the_lease_knew(tmp_path):
    frames = FrameMaker(NBYTES)
    sink = writer(tmp_path, frames)
    damage = Damage.MISSING_DATA | Damage.BAD_PULSE
    missing = (1 << 511 | 0b101).to_bytes(64, "little")
    known = {"timestamp_ns": 123_456_789, "detector_time": (1 << 64) - 1, "damage": damage, "missing": missing}
    with frames.lease(BASE + 7, **known) as lease:
        sink.write([lease])
    path = tmp_path / "JF" / "M03" / "12300000" / "12345000.meta"
    assert path.read_bytes() == b""  # held back
    sink.idle()
    entry = struct.pack(
        "<QQQIIII64s24x",
        BASE + 7, 123_456_789, (1 << 64) - 1, (1 << 5) | (1 << 12), crc32c(pixels(BASE + 7, 3, NBYTES)), 128, 3, missing,
    )  # fmt: skip
    assert path.read_bytes() == SIDECAR_HEADER + bytes(7 * 128) + entry
    write(sink, frames, BASE + 2)
    sink.close()
    data = path.read_bytes()
    assert data[8 * 128 :] == entry
    assert struct.unpack_from("<QQQIIII", data, 3 * 128) == (
        BASE + 2, 1_000 + BASE + 2, 0, 0, crc32c(pixels(BASE + 2, 3, NBYTES)), 128, 3,
    )  # fmt: skip


def test_a_sidecar_has_the_missing_packets_of_large_frames(tmp_path):
    frames = FrameMaker(NBYTES)
    sink = writer(tmp_path, frames)
    for pulse_id, last in ((BASE, 255), (BASE + 1, 256), (BASE + 2, 511)):
        missing = (1 << last | 1).to_bytes(64, "little")
        with frames.lease(pulse_id, expected_packets=512, n_recv_packets=510, missing=missing) as lease:
            sink.write([lease])
    sink.close()
    entries = read_sidecar(tmp_path / "JF" / "M03" / "12300000" / "12345000.meta")
    assert np.unpackbits(entries["missing"], axis=1).sum(axis=1)[:3].tolist() == [2, 2, 2]
    assert list(check_buffer(BufferReader(tmp_path / "JF"), BASE, BASE + 2, Checked())) == []


def test_a_sidecar_of_version_1_becomes_one_of_version_2(tmp_path):
    raw = RawBuffer(tmp_path / "JF", ["M03"], (NBYTES,), "uint8", old_sidecars=True)
    for pulse_id in (3, 999):
        raw.put("M03", pulse_id, missing=bytes(31) + b"\x80", packets=127)
    frames = FrameMaker(NBYTES)
    sink = writer(tmp_path, frames)
    with frames.lease(4, detector_time=7) as lease:
        sink.write([lease])
    sink.close()
    data = raw.meta("M03", 0).read_bytes()
    assert data[:128] == SIDECAR_HEADER
    assert len(data) == 1001 * 128
    reader = BufferReader(tmp_path / "JF")
    heads = [reader.read_frame(p).head for p in (3, 4, 999)]
    assert [h.timestamp_ns for h in heads] == [1_003, 1_004, 1_999]
    assert [h.detector_time for h in heads] == [0, 7, 0]
    assert heads[0].missing == heads[2].missing == bytes(31) + b"\x80" + bytes(32)
    assert [f.check for f in check_buffer(reader)] == ["module_id"]  # the maker's and the raw buffer's differ


def test_sidecar_entries_do_not_wait_for_ever(tmp_path):
    frames = FrameMaker(10)
    sink = writer(tmp_path, frames)
    write(sink, frames, *range(64))
    assert (tmp_path / "JF" / "M03" / "0" / "0.meta").stat().st_size == 65 * 128
    sink.close()


def test_without_a_sidecar_there_is_none(tmp_path):
    frames = FrameMaker(10)
    sink = writer(tmp_path, frames, sidecar=False)
    write(sink, frames, 1)
    sink.close()
    assert not list(tmp_path.rglob("*.meta"))


def test_without_a_crc_the_entries_say_so_and_verify_has_nothing_to_compare(tmp_path):
    frames = FrameMaker(10)
    sink = writer(tmp_path, frames, crc=False)
    write(sink, frames, 1, 2)
    sink.close()
    entries = read_sidecar(tmp_path / "JF" / "M03" / "0" / "0.meta")
    assert entries["flags"][1:3].tolist() == [SIDECAR_PRESENT] * 2
    assert entries["pulse_id"][1:3].tolist() == [1, 2]
    data = tmp_path / "JF" / "M03" / "0" / "0.bin"
    with data.open("r+b") as file:  # a pixel that changed on the disk
        file.seek(RecordShape(10).record_bytes + 45)
        file.write(b"\xff")
    reader = BufferReader(tmp_path / "JF")
    checked = Checked()
    assert [f.check for f in check_buffer(reader, checked=checked) if f.check == "crc"] == []
    assert checked.unchecked == 2


def test_a_replaced_record_never_meets_the_crc_of_the_old_one(tmp_path):
    frames = FrameMaker(NBYTES)
    sink = writer(tmp_path, frames)
    write(sink, frames, 4)
    sink.idle()
    write(sink, frames, 4, data=bytes(NBYTES))
    # the writer is killed here: the new entry is still in memory
    meta = (tmp_path / "JF" / "M03" / "0" / "0.meta").read_bytes()
    assert meta[5 * 128 :] == bytes(128)
    sink.close()


def test_latest_names_the_last_file_finished(tmp_path):
    frames = FrameMaker(10)
    sink = writer(tmp_path, frames)
    latest = tmp_path / "JF" / "M03" / "LATEST"
    write(sink, frames, 998, 999)
    assert not latest.exists()
    write(sink, frames, 1000)
    assert latest.read_text() == "0/0.bin\n"
    write(sink, frames, 997, 1001)  # a straggler finishes nothing
    assert latest.read_text() == "0/0.bin\n"
    write(sink, frames, 150_000)
    assert latest.read_text() == "0/1000.bin\n"
    sink.close()
    assert latest.read_text() == "100000/150000.bin\n"
    assert sorted(p.name for p in latest.parent.iterdir()) == [".writer.lease", "0", "100000", "LATEST", "module.json"]


def test_few_files_stay_open(tmp_path):
    frames = FrameMaker(10)
    before = len(os.listdir("/proc/self/fd"))
    sink = writer(tmp_path, frames)
    write(sink, frames, *range(0, 20_000, 1000))
    assert len(os.listdir("/proc/self/fd")) - before <= 10  # three for each of three files, and the lease
    sink.close()
    sink.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("other", [("int16", (5,)), ("uint16", (5, 1))])
def test_a_folder_of_other_frames_is_refused(tmp_path, other):
    frames = FrameMaker(10)
    BufferWriter(tmp_path, DetectorInfo("uint16", (5,), frames.shape.data_bytes, ("M00",))).close()
    with pytest.raises(
        ConfigError, match=r"holds frames of \[5\] uint16 \(10 bytes\), but M01 sends .* choose another"
    ):
        BufferWriter(tmp_path, DetectorInfo(*other, 10, ("M01",)))


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    frames = FrameMaker(10)
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match=r"file/JF/M03: cannot be written: Not a directory; choose another"):
        writer(tmp_path / "file", frames)
    with pytest.raises(HostError, match="cannot be written"):
        writer(Path("/proc"), frames)


def test_another_folder_between_runs(tmp_path):
    frames = FrameMaker(NBYTES)
    sink = writer(tmp_path / "a", frames)
    write(sink, frames, 1)
    (tmp_path / "c").write_text("")
    with pytest.raises(HostError):
        sink.set_folder(tmp_path / "c" / "JF")
    write(sink, frames, 2)
    sink.set_folder(tmp_path / "b" / "JF")
    write(sink, frames, 3)
    sink.close()
    assert [stored(tmp_path / "a", p) for p in (1, 2)] == [record(p, 3, NBYTES) for p in (1, 2)]
    assert stored(tmp_path / "b", 3) == record(3, 3, NBYTES)
    assert (tmp_path / "a" / "JF" / "M03" / "LATEST").exists()


def test_too_little_free_space_writes_nothing(tmp_path):
    frames = FrameMaker(NBYTES)
    sink = writer(tmp_path, frames, min_free=1 << 62)
    with frames.lease(1) as lease, pytest.raises(OSError, match="bytes free") as caught:
        sink.write([lease])
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "JF"))
    assert sink.figures.free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)
    sink.close()
    assert not list(tmp_path.rglob("*.bin"))


def test_a_write_that_fails_leaves_a_hole(tmp_path, monkeypatch):
    frames = FrameMaker(3 * 4096)
    sink = writer(tmp_path, frames)
    write(sink, frames, 0, 1, 2)
    real = os.pwrite
    calls = []

    def fails_midway(fd: int, data: memoryview, offset: int) -> int:
        calls.append(offset)
        if len(calls) == 1:
            return real(fd, data[:8192], offset)
        if len(calls) == 2:
            raise OSError(errno.EIO, "Input/output error")
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", fails_midway)
    with frames.lease(1, data=bytes(3 * 4096)) as lease, pytest.raises(OSError, match="Input/output") as caught:
        sink.write([lease])
    monkeypatch.undo()
    assert caught.value.filename == str(tmp_path / "JF" / "M03" / "0" / "0.bin")
    assert stored(tmp_path, 1, 3 * 4096)[0] == 0
    write(sink, frames, 3)
    sink.idle()
    for pulse_id in (0, 2, 3):
        assert stored(tmp_path, pulse_id, 3 * 4096) == record(pulse_id, 3, 3 * 4096)
    meta = (tmp_path / "JF" / "M03" / "0" / "0.meta").read_bytes()
    assert [struct.unpack_from("<I", meta, (1 + i) * 128 + 36)[0] for i in range(4)] == [3, 0, 3, 3]
    write(sink, frames, 1)
    assert stored(tmp_path, 1, 3 * 4096) == record(1, 3, 3 * 4096)
    sink.close()


def test_short_writes_are_continued(tmp_path, monkeypatch):
    frames = FrameMaker(5 * 4096)
    sink = writer(tmp_path, frames)
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:8192], offset))
    write(sink, frames, 0, 1, 999)
    monkeypatch.undo()
    sink.close()
    for pulse_id in (0, 1, 999):
        assert stored(tmp_path, pulse_id, 5 * 4096) == record(pulse_id, 3, 5 * 4096)


def test_where_direct_writes_are_refused_it_writes_buffered(tmp_path, monkeypatch):
    frames = FrameMaker(NBYTES)
    sink = writer(tmp_path, frames)
    real = os.open

    def refuses(path, flags, *args, **kwargs):
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuses)
    write(sink, frames, 5, 6, 999)
    monkeypatch.undo()
    sink.close()
    for pulse_id in (5, 6, 999):
        assert stored(tmp_path, pulse_id) == record(pulse_id, 3, NBYTES)


def test_where_direct_writes_are_refused_only_at_the_write_the_frame_is_not_lost(tmp_path, monkeypatch):
    frames = FrameMaker(NBYTES)
    sink = writer(tmp_path, frames)
    real = os.pwrite

    def refuses(fd: int, data: memoryview, offset: int) -> int:
        if len(data) % 4096 == 0:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", refuses)
    write(sink, frames, 5, 6)
    monkeypatch.undo()
    write(sink, frames, 7)
    sink.close()
    for pulse_id in (5, 6, 7):
        assert stored(tmp_path, pulse_id) == record(pulse_id, 3, NBYTES)


def test_a_file_that_is_too_large_is_left_alone(tmp_path):
    frames = FrameMaker(10)
    sink = writer(tmp_path, frames)
    path = tmp_path / "JF" / "M03" / "0" / "0.bin"
    path.parent.mkdir()
    path.write_bytes(bytes(51_002))
    with frames.lease(1) as lease, pytest.raises(OSError, match="holds 51002 bytes, expected 51001"):
        sink.write([lease])
    sink.close()
    assert path.read_bytes() == bytes(51_002)


def test_a_file_for_which_there_is_no_room_is_not_left_empty(tmp_path, monkeypatch):
    frames = FrameMaker(10)
    sink = writer(tmp_path, frames)

    def full(fd: int, data: memoryview, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with frames.lease(1) as lease, pytest.raises(OSError, match="No space"):
        sink.write([lease])
    monkeypatch.undo()
    assert not list(tmp_path.rglob("*.bin"))
    write(sink, frames, 1)
    sink.close()
    assert stored(tmp_path, 1, 10) == record(1, 3, 10)


def test_a_folder_removed_under_the_writer_is_made_anew(tmp_path, monkeypatch):
    frames = FrameMaker(NBYTES)
    sink = writer(tmp_path, frames)
    write(sink, frames, 1)
    shutil.rmtree(tmp_path / "JF")
    monkeypatch.setattr("detectors.buffer.writer.CHECK_PERIOD_S", 0.0)
    write(sink, frames, 2)
    sink.close()
    assert stored(tmp_path, 2) == record(2, 3, NBYTES)
    assert (tmp_path / "JF" / "detector.json").exists()


def test_a_sidecar_that_cannot_be_written_costs_no_frame(tmp_path, monkeypatch, caplog):
    frames = FrameMaker(NBYTES)
    sink = writer(tmp_path, frames)
    write(sink, frames, *range(63))
    real = os.pwrite

    def full(fd: int, data: memoryview, offset: int) -> int:
        if Path(f"/proc/self/fd/{fd}").readlink().suffix == ".meta":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    write(sink, frames, 63, 64, 65)
    with pytest.raises(OSError, match="No space"):
        sink.idle()
    monkeypatch.undo()
    assert [r.message for r in caplog.records if "0.meta" in r.message] == [
        f"{tmp_path}/JF/M03/0/0.meta: cannot be written: No space left on device"
    ]
    sink.idle()
    sink.close()
    assert (tmp_path / "JF" / "M03" / "0" / "0.meta").stat().st_size == 67 * 128
    assert sink.figures.bytes == 66 * (41 + NBYTES)


@pytest.mark.parametrize("nbytes", [60, NBYTES, 8192 - 41, 4096 - 41, 3 * 4096])
def test_records_given_together_lie_where_each_would(root, nbytes):
    frames = FrameMaker(nbytes, slots=64)
    sink = writer(root, frames)
    groups = [[7, *range(990, 1005)], [1010, 1011, 8, 9], [992, 993], [1012, 1014, 1013, 1005]]
    for group in groups:
        leases = [frames.lease(p) for p in group]
        written = 0
        while written < len(leases):
            written += sink.write(leases[written:])
        for lease in leases:
            lease.close()
        for pulse_id in group:
            assert stored(root, pulse_id, nbytes) == record(pulse_id, 3, nbytes), "also while the file is open"
    stats = sink.figures
    assert (stats.overwritten, stats.bytes) == (2, sum(map(len, groups)) * (nbytes + 41))
    sink.close()
    pulses = sorted({p for group in groups for p in group})
    for pulse_id in pulses:
        assert stored(root, pulse_id, nbytes) == record(pulse_id, 3, nbytes)
    for first in (0, 1000):
        here = [p - first for p in pulses if first <= p < first + 1000]
        data = (root / "JF" / "M03" / "0" / f"{first}.bin").read_bytes()
        assert [i for i in range(1000) if data[i * (nbytes + 41)]] == here
        entries = read_sidecar(root / "JF" / "M03" / "0" / f"{first}.meta")
        assert entries["flags"].nonzero()[0].tolist() == here
        assert all(entries[i]["crc32c"] == crc32c(pixels(first + i, 3, nbytes)) for i in here)


def test_records_given_together_take_one_call(tmp_path, monkeypatch):
    frames = FrameMaker(3 * 4096, slots=8)
    sink = writer(tmp_path, frames)
    calls: list[tuple[int, int]] = []
    real = os.pwritev

    def watched(fd: int, parts: list[memoryview], offset: int) -> int:
        assert all(len(part) % 4096 == 0 for part in parts)
        calls.append((offset, len(parts)))
        return real(fd, parts, offset)

    leases = [frames.lease(p) for p in range(5)]
    write(sink, frames, 999)  # opens the file, which takes writes of its own
    monkeypatch.setattr(os, "pwritev", watched)
    monkeypatch.setattr(os, "pwrite", lambda *args: pytest.fail("a write of one record"))
    assert sink.write(leases) == 5
    monkeypatch.undo()
    assert calls == [(0, 5)]
    assert [stored(tmp_path, p, 3 * 4096) for p in range(5)] == [record(p, 3, 3 * 4096) for p in range(5)]
    for lease in leases:
        lease.close()
    sink.close()


@pytest.mark.parametrize("outcome", ["fails", "short"])
def test_where_they_cannot_be_written_together_each_is_written(tmp_path, monkeypatch, outcome):
    frames = FrameMaker(3 * 4096, slots=8)
    sink = writer(tmp_path, frames)
    real = os.pwritev

    def refuses(fd: int, parts: list[memoryview], offset: int) -> int:
        if outcome == "fails":
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(fd, [parts[0], parts[1][:4096]], offset)

    leases = [frames.lease(p) for p in range(4)]
    monkeypatch.setattr(os, "pwritev", refuses)
    assert sink.write(leases) == 1
    assert sink.write(leases[1:]) == 1
    monkeypatch.undo()
    assert sink.write(leases[2:]) == 2
    for lease in leases:
        lease.close()
    assert [stored(tmp_path, p, 3 * 4096) for p in range(4)] == [record(p, 3, 3 * 4096) for p in range(4)]
    assert sink.figures.overwritten == 0
    sink.close()


def test_figures_are_brought_up_to_date_by_the_writing_thread_alone(tmp_path, monkeypatch):
    """A snapshot must not wait for a file system that hangs."""
    frames = FrameMaker(NBYTES)
    sink = writer(tmp_path, frames)
    asked: list[Path] = []
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or usage._replace(free=1 << 40))
    write(sink, frames, 1)
    sink.idle()
    assert not asked, "within a second it is not asked again"
    monkeypatch.setattr("detectors.buffer.writer.CHECK_PERIOD_S", 0.0)
    sink.idle()
    assert sink.figures.free_bytes == 1 << 40
    monkeypatch.setattr(shutil, "disk_usage", lambda _: pytest.fail("a snapshot asked the file system"))
    assert (sink.figures.bytes, sink.figures.folder) == (41 + NBYTES, str(tmp_path / "JF"))
    sink.close()


def test_reset_opens_the_files_again(tmp_path):
    frames = FrameMaker(NBYTES)
    sink = writer(tmp_path, frames)
    write(sink, frames, 1)
    sink.reset()
    write(sink, frames, 2)
    sink.close()
    assert [stored(tmp_path, p) for p in (1, 2)] == [record(p, 3, NBYTES) for p in (1, 2)]
