"""Both PVA clients against an area-detector simulator and a server of another make (pvapy on pvDatabase)."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from detectors.sources.image_source import ImageSource, open_source
from detectors.sources.pvspec import parse_pv_spec
from tests.support.images import image
from tests.support.recording_sink import RecordingSink

PV = "SIM:Image"
SIMULATOR = Path(sys.executable).parent / "pvapy-ad-sim-server"

pytestmark = pytest.mark.usefixtures("own_epics")


@contextmanager
def simulator(*args: str) -> Iterator[subprocess.Popen]:
    command = [SIMULATOR, "-cn", PV, "-fps", "20", "-rt", "60", "-rp", "1000", "-std", "1", "-cs", "20", *args]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait(5)


@contextmanager
def both() -> Iterator[tuple[RecordingSink, RecordingSink]]:
    """Both clients, on the same PV at the same time."""
    sinks = RecordingSink(), RecordingSink()
    with ExitStack() as running:
        for client, sink in zip(("direct", "p4p"), sinks, strict=True):
            source: ImageSource = open_source(parse_pv_spec(PV, "cam"), client=client, direct_above=0, when_full="drop")
            source.start(sink)
            running.callback(source.close)
        yield sinks
    for sink in sinks:
        assert sink.faults == []


def compare(ours: RecordingSink, theirs: RecordingSink) -> int:
    """Check that images with one uniqueId are the same with both clients; returns how many were seen by both."""
    first = {update.unique_id: (update, data) for update, data in ours.of("update")}
    common = [
        (first[update.unique_id], (update, data)) for update, data in theirs.of("update") if update.unique_id in first
    ]
    for (update, data), (other, expected) in common:
        assert update == other
        np.testing.assert_array_equal(data, expected)
    assert ours.of("bad") == theirs.of("bad") == []
    return len(common)


@pytest.mark.parametrize(
    ("args", "shape", "dtype"),
    [
        (["-nx", "70", "-ny", "50", "-dt", "uint16"], (50, 70), "uint16"),
        (["-nx", "700", "-ny", "500", "-dt", "float64"], (500, 700), "float64"),
        (["-nx", "70", "-ny", "50", "-dt", "uint8", "-cm", "2"], (50, 70, 3), "uint8"),
    ],
    ids=["small", "large", "colour"],
)
def test_images_of_the_simulator(args: list[str], shape: tuple[int, ...], dtype: str) -> None:
    with simulator(*args), both() as sinks:
        for sink in sinks:
            sink.wait_for("update", 8, timeout_s=40)
    for sink in sinks:
        assert {(update.shape, update.dtype.name) for update, _ in sink.of("update")} == {(shape, dtype)}
        ids = sink.ids()
        assert ids == sorted(ids)
    assert compare(*sinks) >= 4


@pytest.mark.long
@pytest.mark.parametrize("codec", ["bslz4", "lz4", "blosc"])
def test_compressed_images_of_the_simulator(codec: str, tmp_path: Path) -> None:
    """It passes on the chunks of an HDF5 file as they are, headers and all."""
    filters = {"bslz4": hdf5plugin.Bitshuffle(cname="lz4"), "lz4": hdf5plugin.LZ4(), "blosc": hdf5plugin.Blosc()}
    frames = np.stack([image("uint16", (60, 90), seed) // 64 for seed in range(4)])
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file.create_dataset("data", data=frames, chunks=(1, 60, 90), **filters[codec])
    with simulator("-if", str(tmp_path / "in.h5"), "-hds", "data", "-hcm"), both() as sinks:
        for sink in sinks:
            sink.wait_for("update", 6, timeout_s=40)
    for sink in sinks:
        assert {d.codec for (d,) in sink.of("connected")} == {codec}
        for _, data in sink.of("update"):
            assert any(np.array_equal(data, frame) for frame in frames)
    assert compare(*sinks) >= 3


def test_a_simulator_that_is_killed_comes_back() -> None:
    with both() as sinks:
        for life, nx in enumerate(("64", "32")):
            with simulator("-nx", nx, "-ny", "48"):
                for sink in sinks:
                    sink.wait(lambda s, n=int(nx): any(u.shape == (48, n) for u, _ in s.of("update")), timeout_s=40)
            for sink in sinks:
                sink.wait(lambda s, n=life: s.kinds().count("disconnected") > n)
