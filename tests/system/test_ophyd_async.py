"""Stock ophyd-async devices scan this server: every document is followed to the pixels, over both protocols and with losses."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.support.hdf5 import dataset
from tests.support.process import ROOT
from tests.support.two_modules import pattern_image
from tests.system.test_cam import Bench

SHAPE = (256, 1024)
"""Of one module, jungfrau-half."""

Documents = list[tuple[str, dict[str, Any]]]

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def module_bench(tmp_path_factory: pytest.TempPathFactory, runtime_dir: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("scan"))
    with bench.ioc:
        for name in ("M00:State_RBV", "M01:State_RBV", "HDF1:State_RBV"):
            bench.ioc.until(name, "Idle")
        yield bench


@pytest.fixture
def bench(module_bench: Bench) -> Bench:
    module_bench.idle()
    return module_bench


def scan(
    bench: Bench,
    kind: str,
    protocol: str,
    number: int,
    *,
    good: bool = True,
    other: Bench | None = None,
    folder: str = "",
) -> tuple[Documents, str]:
    """Scan in a process of its own, with a second detector if given; return the documents and what it says on stderr."""
    prefixes, environment = f"{protocol}://{bench.ioc.prefix}", dict(bench.ioc.environment)
    if other:
        prefixes += f",{protocol}://{other.ioc.prefix}"
        ports = [one.variables["EPICS_CA_SERVER_PORT"] for one in (bench, other)]
        environment["EPICS_CA_ADDR_LIST"] = " ".join(f"127.0.0.1:{port}" for port in ports)
    with client(environment, kind, prefixes, folder or str(bench.folder), number) as process:
        said, errors = process.communicate(timeout=100)
    assert (process.returncode == 0) == good, errors[-3000:]
    return documents_in(said), errors


def client(environment: dict[str, str], kind: str, prefixes: str, folder: str, number: int) -> "subprocess.Popen[str]":
    """A scan in a process of its own."""
    words = [sys.executable, "-m", "tests.support.bluesky_client", kind, prefixes, folder, str(number)]
    return subprocess.Popen(words, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def documents_in(said: str) -> Documents:
    return [tuple(json.loads(line)) for line in said.splitlines() if line.startswith("[")]


def of(documents: Documents, name: str) -> list[dict[str, Any]]:
    return [document for kind, document in documents if kind == name]


def follow(documents: Documents, number: int) -> dict[str, np.ndarray]:
    """Follow the documents to the file; return what each data key has for the images that they name."""
    found: dict[str, np.ndarray] = {}
    for resource in of(documents, "stream_resource"):
        datums = [d for d in of(documents, "stream_datum") if d["stream_resource"] == resource["uid"]]
        rows = [row for d in datums for row in range(d["indices"]["start"], d["indices"]["stop"])]
        assert rows == list(range(number))
        with h5py.File(resource["uri"].removeprefix("file://localhost")) as file:
            images = dataset(file, resource["parameters"]["dataset"])
            assert len(images) == number  # documents, file and balance agree to the image
            found[resource["data_key"]] = images[:]
            for name in ("PulseId", "IsGood", "PacketsMissing"):
                found[name] = dataset(file, f"entry/instrument/NDAttributes/{name}")[:]
    return found


def check_pixels(found: dict[str, np.ndarray], key: str = "det") -> None:
    for image, pulse_id, good in zip(found[key], found["PulseId"], found["IsGood"], strict=True):
        if good:
            expected = pattern_image(int(pulse_id), shape=SHAPE)
            np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize(
    ("protocol", "number"), [("ca", 5), *(pytest.param(p, 100, marks=pytest.mark.long) for p in ("ca", "pva"))]
)
def test_every_image_of_a_count_is_there(bench: Bench, protocol: str, number: int) -> None:
    with bench.sending():
        documents, _ = scan(bench, "count", protocol, number)
    assert of(documents, "stop")[0]["exit_status"] == "success"
    found = follow(documents, number)
    assert found["IsGood"].all()
    assert found["det-pulse"].tolist() == found["PulseId"].tolist() == sorted(set(found["PulseId"].tolist()))
    check_pixels(found)
    assert bench.ioc.value("HDF1:Balance_RBV") == f"complete: {number} images"


@pytest.mark.long
def test_classic_ophyd_takes_images(bench: Bench) -> None:
    with bench.sending():
        documents, _ = scan(bench, "classic", "ca", 4)
    assert of(documents, "stop")[0]["exit_status"] == "success"
    assert [d["datum_kwargs"]["point_number"] for d in of(documents, "datum")] == [0, 1, 2, 3]
    with h5py.File(Path("/", of(documents, "resource")[0]["resource_path"])) as file:
        found = {"det": file["entry/data/data"], "PulseId": file["data/DET/pulse_id"][:, 0]}
        found["IsGood"] = file["data/DET/is_good_frame"][:, 0]
        assert found["IsGood"].tolist() == [1] * 4
        check_pixels(found)


@pytest.mark.long
def test_two_detectors_scan_together(bench: Bench, tmp_path: Path) -> None:
    other = Bench(tmp_path, roots=bench.folder)
    with other.ioc:
        for name in ("M00:State_RBV", "M01:State_RBV", "HDF1:State_RBV"):
            other.ioc.until(name, "Idle")
        with bench.sending(), other.sending():
            documents, _ = scan(bench, "both", "ca", 3, other=other)
    assert of(documents, "stop")[0]["exit_status"] == "success"
    assert {d["data_key"] for d in of(documents, "stream_resource")} >= {"first", "second"}
    for key in ("first", "second"):
        mine = [d for kind, d in documents if d.get("data_key") == key]
        found = follow([("stream_resource", mine[0]), *((k, d) for k, d in documents if k == "stream_datum")], 3)
        check_pixels(found, key)


@pytest.mark.long
@pytest.mark.parametrize("protocol", ["ca", "pva"])
def test_a_scan_to_a_folder_that_is_refused_fails(bench: Bench, protocol: str) -> None:
    documents, _ = scan(bench, "count", protocol, 1, good=False, folder="/etc")
    assert of(documents, "stop")[0]["exit_status"] == "fail"
    bench.ioc.put("HDF1:FilePath", str(bench.folder))


@pytest.mark.long
@pytest.mark.parametrize("protocol", ["ca", "pva"])
def test_a_fly_scan_of_a_thousand_frames(bench: Bench, protocol: str) -> None:
    with bench.sending(rate_hz=100):
        documents, _ = scan(bench, "fly", protocol, 1000)
    assert of(documents, "stop")[0]["exit_status"] == "success"
    found = follow(documents, 1000)
    assert np.diff(found["PulseId"]).tolist() == [1] * 999
    check_pixels({key: values[::97] for key, values in found.items()})
    bad = np.count_nonzero(found["IsGood"] == 0)  # a busy host may lose some: counted, in their places, and few
    assert bad == sum(bench.ioc.value(name) for name in ("HDF1:NumDamaged_RBV", "HDF1:NumFilled_RBV"))
    assert bad < 10
    assert bench.ioc.value("HDF1:Balance_RBV").startswith("complete: 1000 images")


@pytest.mark.long
@pytest.mark.parametrize("protocol", ["ca", "pva"])
def test_a_loss_in_a_scan_takes_its_place_and_is_flagged(bench: Bench, protocol: str) -> None:
    bench.set(AcquirePeriod=0.025)
    with bench.sending("--loss", "0.003"):
        documents, _ = scan(bench, "fly", protocol, 100)
    found = follow(documents, 100)
    assert np.diff(found["PulseId"]).tolist() == [1] * 99
    bad = np.count_nonzero(found["IsGood"] == 0)
    assert 0 < bad < 100
    assert found["PacketsMissing"].astype(bool).tolist() == (found["IsGood"] == 0).tolist()
    check_pixels(found)
    names = ("HDF1:NumDamaged_RBV", "HDF1:NumFilled_RBV")
    assert bad == sum(bench.ioc.value(name) for name in names)
    assert bench.ioc.value("HDF1:Balance_RBV").startswith("not complete: 100 images")


@pytest.mark.long
@pytest.mark.parametrize("protocol", ["ca", "pva"])
def test_a_loss_in_a_scan_that_is_to_fail_raises(bench: Bench, protocol: str) -> None:
    bench.set(OnLoss="Fail")
    with bench.sending("--loss", "0.003"):
        documents, errors = scan(bench, "fly", protocol, 1000, good=False)
    assert "not in a good state" in errors or "Error" in errors
    assert of(documents, "stop")[0]["exit_status"] == "fail"
    assert bench.ioc.value("cam1:DetectorState_RBV") == "Error"
    assert "pulse" in bench.ioc.value("cam1:StatusMessage_RBV")
    assert bench.ioc.value("HDF1:Balance_RBV").startswith("not complete")


@pytest.mark.long
@pytest.mark.parametrize("protocol", ["ca", "pva"])
def test_an_ioc_that_is_killed_in_a_scan_never_makes_it_silently_wrong(tmp_path: Path, protocol: str) -> None:
    """The scan fails with a reason, or goes on; the file has every image in any case."""
    bench = Bench(tmp_path)
    bench.ioc.ready()
    try:
        for name in ("M00:State_RBV", "M01:State_RBV", "HDF1:State_RBV"):
            bench.ioc.until(name, "Idle")
        bench.idle()
        prefix = f"{protocol}://{bench.ioc.prefix}"
        with bench.sending(), client(bench.ioc.environment, "fly", prefix, str(tmp_path), 400) as process:
            bench.ioc.until("HDF1:NumCaptured_RBV", lambda images: images > 50)
            bench.ioc.stop(signal.SIGKILL)
            bench.ioc = bench.start().ready()
            bench.ioc.until("cam1:Acquire_RBV", "Done")
            said, errors = process.communicate(timeout=100)
        documents = documents_in(said)
        (stop,) = of(documents, "stop")
        assert (stop["exit_status"] == "success") == (process.returncode == 0)
        if process.returncode == 0:
            found = follow(documents, 400)
            assert np.diff(found["PulseId"]).tolist() == [1] * 399
            check_pixels(found)
        else:
            assert stop["exit_status"] in {"fail", "abort"}
            assert stop["reason"], errors
    finally:
        bench.ioc.stop()
