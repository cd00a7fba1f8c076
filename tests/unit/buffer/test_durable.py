"""When a record is durable, and what becomes of records that were written and then lost."""

import errno
import os
import shutil
import socket
from pathlib import Path

import pytest

from detectors.buffer import folder_lease, module_files
from detectors.buffer import writer as writer_module
from detectors.errors import HostError
from tests.unit.buffer.make import FrameMaker, record
from tests.unit.buffer.test_folder_lease import left_by
from tests.unit.buffer.test_writer import NBYTES, stored, write, writer


@pytest.fixture
def frames():
    return FrameMaker(NBYTES)


@pytest.fixture
def synced(monkeypatch) -> list[str]:
    """The names of the files and folders synced."""
    names: list[str] = []
    for call in ("fsync", "fdatasync"):
        real = getattr(os, call)

        def watched(fd: int, real=real) -> None:
            names.append(Path(f"/proc/self/fd/{fd}").readlink().name)
            real(fd)

        monkeypatch.setattr(os, call, watched)
    return names


def counts(sink) -> tuple[int, int]:
    return sink.figures.durable, sink.figures.lost_on_disk


def fail_sync(monkeypatch, suffix: str, error: int = errno.EIO) -> None:
    real = os.fdatasync

    def fails(fd: int) -> None:
        if Path(f"/proc/self/fd/{fd}").readlink().suffix == suffix:
            raise OSError(error, os.strerror(error))
        real(fd)

    monkeypatch.setattr(os, "fdatasync", fails)


def test_a_record_is_durable_when_data_then_sidecar_are_synced(tmp_path, frames, synced):
    sink = writer(tmp_path, frames, sync_s=0.0)
    synced.clear()
    write(sink, frames, 1, 2, 3)
    assert counts(sink) == (0, 0)
    assert not synced
    sink.idle()
    assert counts(sink) == (3, 0)
    assert synced == ["0.bin", "0", "M03", "0.meta"], "and the names of a new file once"
    synced.clear()
    write(sink, frames, 4)
    sink.idle()
    sink.idle()
    assert counts(sink) == (4, 0)
    assert synced == ["0.bin", "0.meta"]
    sink.close()


def test_a_full_file_is_durable_before_latest_names_it(tmp_path, frames, synced):
    sink = writer(tmp_path, frames)
    write(sink, frames, 998, 999)
    synced.clear()
    write(sink, frames, 1000)
    assert counts(sink) == (2, 0)
    assert synced == ["0.bin", "0", "M03", "0.meta", f".LATEST.{os.getpid()}.tmp", "M03"]
    sink.close()
    assert counts(sink) == (3, 0)


def test_what_is_written_is_synced_after_sync_s_and_when_nothing_comes(tmp_path, frames, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(module_files.time, "monotonic", lambda: clock[0])
    sink = writer(tmp_path, frames, sync_s=5.0)
    for _ in range(49):
        clock[0] += 0.1
        write(sink, frames, int(clock[0] * 10))
        sink.idle()
    assert counts(sink) == (0, 0)
    clock[0] += 0.2
    write(sink, frames, 3000)
    sink.idle()
    assert counts(sink) == (50, 0)
    write(sink, frames, 3001)
    clock[0] += 0.9
    sink.idle()
    assert counts(sink) == (50, 0)
    clock[0] += 0.2
    sink.idle()
    assert counts(sink) == (51, 0)
    sink.close()


def test_an_error_that_comes_late_is_of_the_records_not_yet_durable_of_its_file(tmp_path, frames, monkeypatch):
    sink = writer(tmp_path, frames, sync_s=0.0)
    write(sink, frames, 1, 2)
    sink.idle()
    write(sink, frames, 3, 4, 5)
    fail_sync(monkeypatch, ".bin")
    write(sink, frames, 1000)  # begins the next file: the frame is written, whatever became of those before it
    monkeypatch.undo()
    assert counts(sink) == (2, 3)
    assert not (tmp_path / "JF" / "M03" / "LATEST").exists()
    with pytest.raises(OSError, match="3 records written since the last sync are counted as lost") as caught:
        sink.idle()
    assert caught.value.errno == errno.EIO
    assert caught.value.filename == str(tmp_path / "JF" / "M03" / "0" / "0.bin")
    sink.idle()
    assert counts(sink) == (3, 3)
    sink.close()


def test_an_error_at_the_end_is_counted_and_leaks_no_descriptor(tmp_path, frames, monkeypatch):
    before = len(os.listdir("/proc/self/fd"))
    sink = writer(tmp_path, frames)
    write(sink, frames, 1, 1000, 2)
    fail_sync(monkeypatch, ".bin")
    real = os.close

    def fails(fd: int) -> None:
        late = Path(f"/proc/self/fd/{fd}").readlink().suffix in {".bin", ".meta"}
        real(fd)
        if late:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "close", fails)
    sink.close()
    monkeypatch.undo()
    assert counts(sink) == (1, 2)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_sidecar_that_cannot_be_synced_costs_no_record(tmp_path, frames, monkeypatch):
    sink = writer(tmp_path, frames, sync_s=0.0)
    write(sink, frames, 1)
    fail_sync(monkeypatch, ".meta")
    with pytest.raises(OSError, match=r"0\.meta"):
        sink.idle()
    monkeypatch.undo()
    assert counts(sink) == (1, 0)
    sink.close()


@pytest.mark.parametrize("how", ["removed", "replaced", "moved"])
def test_records_in_a_folder_that_goes_are_lost_and_the_next_lie_in_a_new_one(tmp_path, frames, monkeypatch, how):
    monkeypatch.setattr(writer_module, "CHECK_PERIOD_S", 0.0)
    sink = writer(tmp_path, frames, sync_s=0.0)
    write(sink, frames, 1)
    sink.idle()
    sink._sync_s = sink._files._sync_s = 100.0
    write(sink, frames, 2, 3)
    if how == "removed":
        shutil.rmtree(tmp_path / "JF" / "M03")
    else:
        (tmp_path / "JF").rename(tmp_path / "OLD")
    if how == "replaced":
        shutil.copytree(tmp_path / "OLD", tmp_path / "JF")
    write(sink, frames, 4)
    assert counts(sink) == (1, 2)
    assert stored(tmp_path, 4) == record(4, 3, NBYTES)
    with pytest.raises(FileNotFoundError, match="2 records"):
        sink.idle()
    sink.close()
    assert counts(sink) == (2, 2)
    assert (tmp_path / "JF" / "M03" / "module.json").exists()


def test_a_folder_removed_while_nothing_comes_is_not_made_anew(tmp_path, frames, monkeypatch):
    monkeypatch.setattr(writer_module, "CHECK_PERIOD_S", 0.0)
    sink = writer(tmp_path, frames)
    shutil.rmtree(tmp_path / "JF")
    sink.idle()
    assert not (tmp_path / "JF").exists()
    write(sink, frames, 1)
    assert stored(tmp_path, 1) == record(1, 3, NBYTES)
    sink.close()


def test_a_disk_that_is_no_longer_mounted_is_not_written_beside(tmp_path, frames, monkeypatch):
    monkeypatch.setattr(writer_module, "CHECK_PERIOD_S", 0.0)
    real = Path.is_mount
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path or real(path))
    sink = writer(tmp_path, frames)
    monkeypatch.undo()
    monkeypatch.setattr(writer_module, "CHECK_PERIOD_S", 0.0)
    shutil.rmtree(tmp_path / "JF")
    with frames.lease(1) as lease, pytest.raises(FileNotFoundError, match=f"found no disk mounted on {tmp_path}"):
        sink.write([lease])
    assert not (tmp_path / "JF").exists()
    sink.close()


def test_two_writers_of_one_module_cannot_mix(tmp_path, frames):
    """Finding: two servers with the same folder wrote alternate pulses, and each had half of the other's pixels."""
    sink = writer(tmp_path, frames)
    with pytest.raises(
        HostError, match=f"JF/M03: process {os.getpid()} on host {socket.gethostname()} .* writes there"
    ):
        writer(tmp_path, frames)
    write(sink, frames, *range(10))
    sink.close()
    second = writer(tmp_path, frames)
    write(second, frames, *range(10, 20))
    second.close()
    assert all(stored(tmp_path, p) == record(p, 3, NBYTES) for p in range(20))


def test_a_writer_whose_folder_was_taken_over_writes_no_more(tmp_path, frames, monkeypatch):
    monkeypatch.setattr(writer_module, "CHECK_PERIOD_S", 0.0)
    monkeypatch.setattr(folder_lease, "RENEW_S", 0.0)
    sink = writer(tmp_path, frames)
    write(sink, frames, 1)
    meta = tmp_path / "JF" / "M03" / "0" / "0.meta"
    before = meta.read_bytes()
    left_by(tmp_path / "JF" / "M03", host="far", system="another boot", pid=9)
    for _ in range(2):
        with frames.lease(2) as lease, pytest.raises(HostError, match="process 9 on host far"):
            sink.write([lease])
        sink.reset()
    assert counts(sink) == (0, 1)
    assert stored(tmp_path, 2)[:1] == b"\0"
    assert meta.read_bytes() == before
    (tmp_path / "JF" / "M03" / ".writer.lease").write_bytes(b"")
    write(sink, frames, 3)
    sink.close()
    assert counts(sink) == (1, 1)


def test_another_folder_keeps_the_present_one_until_it_is_taken(tmp_path, frames):
    sink = writer(tmp_path, frames)
    other = writer(tmp_path / "b", frames)
    with pytest.raises(HostError, match="writes there"):
        sink.set_folder(tmp_path / "b" / "JF")
    write(sink, frames, 1)
    other.close()
    sink.set_folder(tmp_path / "b" / "JF")
    assert counts(sink) == (1, 0)
    writer(tmp_path, frames).close()
    sink.set_folder(tmp_path / "b" / "JF")  # the same again
    write(sink, frames, 2)
    sink.close()
    assert stored(tmp_path / "b", 2) == record(2, 3, NBYTES)


def test_what_a_killed_writer_left_is_made_durable_at_the_next_start(tmp_path, frames, synced):
    sink = writer(tmp_path, frames)
    write(sink, frames, 1, 99_000, 100_001, 100_999, 1_000_000)
    sink.close()
    synced.clear()
    sink = writer(tmp_path, frames)
    assert synced == [f"{n}.{kind}" for n in (1_000_000, 100_000, 99_000) for kind in ("bin", "meta")]
    sink.close()
