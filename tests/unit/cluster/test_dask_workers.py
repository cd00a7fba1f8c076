"""On a Dask cluster whose workers are threads of this process: what jobs, results and errors become."""

import operator
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from detectors.buffer.reader import BufferReader
from detectors.cluster import dask_workers
from detectors.cluster.dask_workers import DaskWorkers, useful_here, workers
from detectors.cluster.jobs import FAN_IN, Job, ThisProcess
from detectors.errors import BufferReadError, HostError
from detectors.outputs.hdf5.selection import PulseRange
from detectors.processing.function import load
from detectors.processing.recorded import process
from tests.unit.buffer.make import RawBuffer

pytestmark = pytest.mark.filterwarnings("default")  # what Dask warns of is not ours


@pytest.fixture(scope="module")
def client() -> Iterator[object]:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            dashboard_address=None,
            resources={"host-daq1": 1},
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def those(client: object) -> DaskWorkers:
    return DaskWorkers(client)


def refuse(n: int) -> int:
    if n == 3:
        raise BufferReadError("the third")
    if n == 4:
        raise ValueError("two\nlines")
    return n


def test_results_come_in_order(those: DaskWorkers) -> None:
    seen: list[tuple[int, int]] = []
    jobs = [Job(divmod, (n, 3), host) for n, host in enumerate(["daq1", "", "daq2"] * 5)]
    assert list(those.map(jobs, lambda done, total: seen.append((done, total)))) == [divmod(n, 3) for n in range(15)]
    assert seen == [(n, 15) for n in range(1, 16)]


def test_a_tree_of_results(those: DaskWorkers) -> None:
    jobs = [Job(operator.concat, (f"{n}", ",")) for n in range(FAN_IN**2 + 3)]
    assert those.reduce(jobs, "".join) == ThisProcess().reduce(jobs, "".join) == "".join(f"{n}," for n in range(67))


def test_an_error_of_a_job_is_raised_as_it_is(those: DaskWorkers) -> None:
    with pytest.raises(BufferReadError, match=r"^the third$"):
        list(those.map([Job(refuse, (n,)) for n in range(4)]))
    with pytest.raises(BufferReadError, match=r"^the third$"):
        those.reduce([Job(refuse, (n,)) for n in range(4)], sum)


def test_any_other_error_is_one_line(those: DaskWorkers) -> None:
    with pytest.raises(HostError, match=r"^the Dask cluster failed: ValueError: two lines$"):
        list(those.map([Job(refuse, (4,))]))
    with pytest.raises(HostError, match=r"^the Dask cluster failed: TypeError: "):
        those.reduce([Job(str, (1,)), Job(str, (2,))], sum)


def test_the_output_is_that_of_one_process(those: DaskWorkers, tmp_path: Path) -> None:
    raw = RawBuffer(tmp_path / "JF01").fill(range(100, 20_000, 400))
    (tmp_path / "mine.py").write_text("def f(image, head):\n    return image.mean() * 0.1\n")
    outputs = tmp_path / "one.h5", tmp_path / "cluster.h5"
    for path, by in zip(outputs, (ThisProcess(), those), strict=True):
        process(BufferReader(raw.folder), load(f"{tmp_path}/mine.py:f"), PulseRange(0, 20_000), path, by)
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_no_scheduler_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_workers, "CONNECT_TIMEOUT_S", 0.5)
    with pytest.raises(HostError, match="no Dask scheduler answers there"), workers("tcp://127.0.0.1:1", None):
        pass


def test_without_dask_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(HostError, match=r"--workers: found no package cryptography"), workers(None, 2):
        pass
    monkeypatch.setitem(sys.modules, "distributed", None)
    for scheduler, count in (("tcp://127.0.0.1:1", None), (None, 2)):
        with pytest.raises(HostError, match=r"pip install 'pebbledaq\[dask\]'"), workers(scheduler, count):
            pass
    with workers(None, None) as found:
        assert list(found.map([Job(abs, (-1,))])) == [1]


def test_small_work_stays_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2})
    assert [useful_here(jobs) for jobs in (0, 1, 2, 9)] == [None, None, 2, 3]
    monkeypatch.setattr(dask_workers, "missing", lambda _: ["distributed"])
    assert useful_here(9) is None
