"""verify by several workers: the same findings in the same order, each file checked on the host that has it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from detectors.buffer.checks import Checked, Progress, check_buffer
from detectors.buffer.reader import BufferReader
from detectors.cluster.dask_workers import DaskWorkers
from detectors.cluster.jobs import Job, ThisProcess
from detectors.outputs.hdf5.copy import write_file
from detectors.outputs.hdf5.selection import PulseRange
from detectors.verify import verify
from tests.unit.buffer.spread import Spread

HOSTS = {"daq1": ("M00", "M02"), "daq2": ("M01", "M03")}
PULSES = (*range(900, 1100, 10), *range(2500, 2600, 10))
ORDER = ["M00", "M01", "M02", "M03"]


class Remembers(ThisProcess):
    """This process, which notes what each job is about and for which host it is."""

    def __init__(self) -> None:
        self.jobs: list[tuple[str, Any]] = []

    def map(self, jobs: Sequence[Job], progress: Progress | None = None) -> Iterator[Any]:
        self.jobs += [(job.host, job.arguments[1:]) for job in jobs]
        return super().map(jobs, progress)


@pytest.fixture
def spread(tmp_path: Path) -> Spread:
    """Four modules whose order is not that of their hosts, with something wrong in each, and an HDF5 file beside them."""
    spread = Spread(tmp_path, HOSTS, PULSES)
    spread.change(lambda tree: tree["detectors"][0]["modules"].sort(key=lambda module: module["name"]))
    write_file(BufferReader(spread.map), PulseRange(0, 3000), tmp_path / "a.h5")
    for number, module in enumerate(ORDER):
        raw = spread.buffer(module)
        raw.poke(raw.path(module, 950 + 10 * number), (950 + 10 * number) * raw.record_bytes + 60, b"damaged")
    raw = spread.buffer("M02")
    raw.poke(raw.path("M02", 1050), 50 * raw.record_bytes, b"\0")
    spread.buffer("M03").path("M03", 2500).unlink()
    return spread


def test_each_file_is_checked_on_its_host_and_the_findings_keep_their_order(spread: Spread, tmp_path: Path) -> None:
    reader, those, counts = BufferReader(spread.map), Remembers(), (Checked(), Checked())
    expected = list(check_buffer(reader, checked=counts[0]))
    assert [finding.module for finding in expected if finding.check == "crc"] == ORDER
    assert list(verify(reader, workers=those, checked=counts[1])) == expected
    assert counts[0] == counts[1]
    limits = those.jobs[0][1][2]
    assert those.jobs == [
        ("daq1", (0, ["M00", "M02"], limits)),
        ("daq2", (0, ["M01", "M03"], limits)),
        ("daq1", (1000, ["M00", "M02"], limits)),
        ("daq2", (1000, ["M01", "M03"], limits)),
        ("daq1", (2000, ["M00", "M02"], limits)),
        ("daq2", (2000, ["M01"], limits)),
    ]


@pytest.mark.filterwarnings("default")  # what Dask warns of is not ours
def test_a_cluster_finds_the_same(spread: Spread, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    reader, counts = BufferReader(spread.map), (Checked(), Checked())
    here = list(verify(reader, tmp_path / "a.h5", start=900, stop=2599, checked=counts[0]))
    assert {"crc", "agreement", "sidecar", "hdf5_data"} <= {finding.check for finding in here}
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as local,
        distributed.Client(local, set_as_default=False) as client,
    ):
        there = list(
            verify(reader, tmp_path / "a.h5", start=900, stop=2599, checked=counts[1], workers=DaskWorkers(client))
        )
    assert there == here
    assert counts[0] == counts[1]
    assert counts[0].images == len(PULSES)
