import h5py
import hdf5plugin
import pytest

from detectors.errors import ConfigError, HostError
from detectors.outputs.hdf5 import cluster
from detectors.outputs.hdf5.copy import write_file
from detectors.outputs.hdf5.selection import PulseRange
from tests.unit.outputs.hdf5.conftest import START

RANGE = PulseRange(START, START + 29)

assert hdf5plugin.FILTERS  # imported for the filters that it registers


def test_without_dask_it_is_said_how_to_get_it(reader, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(HostError, match=r"pip install 'pebbledaq\[dask\]'"):
        cluster.write_on_cluster(reader, RANGE, tmp_path / "a.h5", "tcp://127.0.0.1:1")


@pytest.fixture(scope="module")
def scheduler():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
    ) as workers:
        yield workers.scheduler_address


@pytest.mark.filterwarnings("default")  # what Dask warns of is not ours
@pytest.mark.parametrize(("missing", "compress"), [("skip", "none"), ("fill", "bslz4")])
def test_the_parts_join_to_what_one_process_writes(  # noqa: PLR0917
    scheduler, reader, tmp_path, monkeypatch, missing, compress
):
    monkeypatch.setattr(cluster, "_LEAST_PULSES", 4)
    path = tmp_path / "all.h5"
    count = cluster.write_on_cluster(reader, RANGE, path, scheduler, missing=missing, compress=compress)
    assert write_file(reader, RANGE, tmp_path / "one.h5", missing=missing) == count
    assert len(list((tmp_path / "all.h5.parts").iterdir())) > 2
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("all.h5", "all.h5.parts"):
        (tmp_path / name).rename(moved / name)
    with h5py.File(moved / "all.h5") as file, h5py.File(tmp_path / "one.h5") as one:
        for name in ("data", "pulse_id", "frame_index", "daq_rec", "is_good_frame", "module_mask"):
            ours, theirs = file[f"data/JF01/{name}"], one[f"data/JF01/{name}"]
            assert isinstance(ours, h5py.Dataset)
            assert isinstance(theirs, h5py.Dataset)
            assert (ours[()] == theirs[()]).all()


@pytest.mark.filterwarnings("default")
def test_a_failure_on_a_worker_leaves_nothing_behind(scheduler, reader, tmp_path):
    with pytest.raises(ConfigError, match="expected one of none"):
        cluster.write_on_cluster(reader, RANGE, tmp_path / "all.h5", scheduler, compress="gzip")
    assert [p.name for p in tmp_path.iterdir()] == ["JF01"]


@pytest.mark.filterwarnings("default")
def test_no_scheduler_is_one_line(scheduler, reader, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_CONNECT_TIMEOUT_S", 0.5)
    with pytest.raises(HostError, match="no Dask scheduler answers there"):
        cluster.write_on_cluster(reader, RANGE, tmp_path / "all.h5", "tcp://127.0.0.1:1")
