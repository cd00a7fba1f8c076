"""Parts of a long range, written by any workers, and the file that joins them."""

from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from detectors.buffer.checks import Progress
from detectors.buffer.reader import BufferReader
from detectors.cluster.dask_workers import DaskWorkers
from detectors.cluster.jobs import Job, ThisProcess
from detectors.errors import BufferReadError, ConfigError, HostError
from detectors.outputs.hdf5 import cluster
from detectors.outputs.hdf5.cluster import write_on_workers
from detectors.outputs.hdf5.copy import write_file
from detectors.outputs.hdf5.selection import PulseRange
from detectors.verify import verify
from tests.unit.buffer.make import RawBuffer
from tests.unit.buffer.spread import Spread
from tests.unit.cluster.stopped import StopsAfter
from tests.unit.outputs.hdf5.conftest import START

RANGE = PulseRange(START, START + 29)
NAMES = ("data", "pulse_id", "frame_index", "daq_rec", "is_good_frame", "module_mask")

assert hdf5plugin.FILTERS  # imported for the filters that it registers


class Remembers(ThisProcess):
    """This process, which notes for which host each job is."""

    def __init__(self) -> None:
        self.hosts: list[str] = []

    def map(self, jobs: list[Job], progress: Progress | None = None):
        self.hosts = [job.host for job in jobs]
        return super().map(jobs, progress)


@pytest.fixture(autouse=True)
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "IMAGES_PER_PART", 8)


def content(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        (group,) = file["data"].values()  # type: ignore[union-attr]
        return {name: group[name][()] for name in NAMES}


def files(path: Path) -> dict[str, bytes]:
    """The bytes of a file and of its parts, by their names without that of the file."""
    parts = path.with_name(path.name + ".parts")
    return {"": path.read_bytes(), **{part.name: part.read_bytes() for part in sorted(parts.iterdir())}}


@pytest.mark.parametrize("missing", ["skip", "fill"])
@pytest.mark.parametrize("compress", ["none", "bslz4"])
def test_the_parts_join_to_what_one_process_writes(reader, tmp_path, missing, compress):
    path, seen = tmp_path / "all.h5", []
    count = write_on_workers(
        reader,
        RANGE,
        path,
        ThisProcess(),
        missing=missing,
        compress=compress,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert write_file(reader, RANGE, tmp_path / "one.h5", missing=missing) == count
    assert seen == [(n, 4) for n in range(1, 5)]
    assert list(files(path)) == ["", "0000.h5", "0001.h5", "0002.h5", "0003.h5"]
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("all.h5", "all.h5.parts"):
        (tmp_path / name).rename(moved / name)
    ours, theirs = content(moved / "all.h5"), content(tmp_path / "one.h5")
    assert all(np.array_equal(ours[name], theirs[name]) for name in NAMES)
    assert list(verify(reader, moved / "all.h5", start=START, stop=START + 3)) == []


@pytest.mark.filterwarnings("default")  # what Dask warns of is not ours
def test_a_cluster_writes_the_same_bytes(reader, tmp_path):
    distributed = pytest.importorskip("distributed")
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    write_on_workers(reader, RANGE, tmp_path / "one" / "a.h5", ThisProcess(), compress="bslz4")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as local,
        distributed.Client(local, set_as_default=False) as client,
    ):
        write_on_workers(reader, RANGE, tmp_path / "two" / "a.h5", DaskWorkers(client), compress="bslz4")
    assert files(tmp_path / "one" / "a.h5") == files(tmp_path / "two" / "a.h5")


@pytest.mark.parametrize("jobs", [0, 2, 3])
def test_what_was_stopped_goes_on_and_ends_the_same(reader, tmp_path, jobs):
    for name in ("whole", "twice"):
        (tmp_path / name).mkdir()
    write_on_workers(reader, RANGE, tmp_path / "whole" / "a.h5", ThisProcess())
    path = tmp_path / "twice" / "a.h5"
    with pytest.raises(KeyboardInterrupt):
        write_on_workers(reader, RANGE, path, StopsAfter(jobs))
    assert not path.exists()
    parts = {part: part.stat().st_mtime_ns for part in path.with_name("a.h5.parts").glob("*.h5")}
    assert len(parts) == jobs + 1
    (path.with_name("a.h5.parts") / ".0003.h5.77.part").write_bytes(b"of a killed worker")
    write_on_workers(reader, RANGE, path, ThisProcess())
    assert files(path) == files(tmp_path / "whole" / "a.h5")
    assert {part: part.stat().st_mtime_ns for part in parts} == parts


def test_no_time_of_writing_is_in_the_files(reader, tmp_path):
    path = tmp_path / "a.h5"
    write_on_workers(reader, RANGE, path, ThisProcess(), compress="bslz4")
    times: dict[str, int] = {}
    for each in (path, *path.with_name("a.h5.parts").iterdir()):
        with h5py.File(each) as file:
            names: list[str] = []
            file.visit(names.append)
            times |= {f"{each.name}/{name}": h5py.h5g.get_objinfo(file[name].id).mtime for name in names}
    assert len(times) > 20
    assert set(times.values()) == {0}


def test_parts_of_another_request_are_not_taken(reader, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_on_workers(reader, RANGE, tmp_path / "a.h5", StopsAfter(1))
    for pulses, compress in ((RANGE, "bslz4"), (PulseRange(START, START + 28), "none")):
        with pytest.raises(HostError, match=r"a\.h5\.parts: has parts of another command"):
            write_on_workers(reader, pulses, tmp_path / "a.h5", ThisProcess(), compress=compress)


def test_each_host_writes_its_own_modules(tmp_path):
    hosts = {"daq1": ("M00", "M03"), "daq2": ("M01", "M02")}
    pulses = range(10, 30)
    spread = Spread(tmp_path, hosts, pulses)
    path, those = tmp_path / "a.h5", Remembers()
    write_on_workers(BufferReader(spread.map), PulseRange(10, 29), path, those)
    assert those.hosts == ["daq1", "daq2"] * 3
    assert list(files(path))[1:] == [f"000{n}-{host}.h5" for n in range(3) for host in hosts]
    images = content(path)["data"]
    assert all((images[row] == spread.image(pulse)).all() for row, pulse in enumerate(pulses))
    part = content(tmp_path / "a.h5.parts" / "0001-daq2.h5")["data"]
    assert (part[0] == np.vstack([spread.frame("M01", 18), spread.frame("M02", 18)])).all()


def test_a_missing_host_has_no_parts(tmp_path):
    spread = Spread(tmp_path, {"daq1": ("M00",), "daq2": ("M01",)}, range(10, 30))
    spread.unmount("daq1")
    path = tmp_path / "a.h5"
    write_on_workers(BufferReader(spread.map), PulseRange(10, 29), path, ThisProcess())
    assert list(files(path))[1:] == [f"000{n}-daq2.h5" for n in range(3)]
    assert (content(path)["data"][19] == spread.image(29, without=["M00"])).all()


def test_a_wrong_request_leaves_nothing_behind(reader, tmp_path):
    with pytest.raises(ConfigError, match="expected one of none"):
        write_on_workers(reader, RANGE, tmp_path / "all.h5", ThisProcess(), compress="gzip")
    assert [p.name for p in tmp_path.iterdir()] == ["JF01"]


def test_a_record_that_is_damaged_is_named_and_the_parts_before_it_stay(raw: RawBuffer, reader, tmp_path):
    raw.poke(raw.path("M00", START + 20), (START + 20) % 1000 * raw.record_bytes + 50, b"damaged")
    with pytest.raises(BufferReadError, match=f"the pixels of pulse {START + 20} have CRC32C"):
        write_on_workers(reader, RANGE, tmp_path / "a.h5", ThisProcess())
    assert sorted(part.name for part in (tmp_path / "a.h5.parts").iterdir()) == ["0000.h5", "0001.h5", "request.json"]
