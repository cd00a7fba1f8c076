"""``HDF1:`` as plain areaDetector clients use it: the stock order of puts by CA and by PVA, compressions, attributes and queues."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from detectors.geometry import GEOMETRIES
from tests.support.hdf5 import dataset
from tests.support.two_modules import pattern_image
from tests.support.waiting import until
from tests.system.test_cam import GEOMETRY, Bench
from tests.system.test_detectors import Pair

assert hdf5plugin.FILTERS  # imported for the filters that it registers

SHAPE = GEOMETRIES[GEOMETRY].shape
IMAGES = 5
"""Of each acquisition."""
ATTRIBUTES = "entry/instrument/NDAttributes"

CLIENTS = {
    "ca": """
import epics
def put(name, value):
    assert epics.caput(P + name, value, wait=True, timeout=20) == 1, name
def begin(name):
    epics.caput(P + name, 1)
def get(name):
    pv = epics.get_pv(P + name)
    assert pv.wait_for_connection(10), name
    return pv.get(as_string=pv.type.endswith("char"), use_monitor=False)
def close():
    epics.ca.finalize_libca()
""",
    "pva": """
from p4p.client.thread import Context
context = Context("pva", nt=False)
def put(name, value):
    context.put(P + name, value, wait=True, timeout=20)
def begin(name):
    context.put(P + name, 1, wait=False)
def get(name):
    value = context.get(P + name, timeout=10).value
    return value.index if hasattr(value, "index") and hasattr(value, "choices") else value
def close():
    context.close()
""",
}

WALK = """
import json, time
import h5py
found = {}
def until(name, value):
    end = time.monotonic() + 20
    while get(name) != value:
        assert time.monotonic() < end, (name, get(name))
def pulses():
    with h5py.File(path, "r", swmr=True) as file:
        return file["data/DET/pulse_id"][:, 0].tolist()
put("HDF1:Capture", 0)
put("HDF1:CreateDirectory", -3)
put("HDF1:FilePath", FOLDER)
found["path"] = [get("HDF1:FilePath_RBV"), get("HDF1:FilePathExists_RBV")]
for name, value in [
    ("FileName", "walk"), ("FileTemplate", "%s%s_%3.3d.h5"), ("FileNumber", 7), ("AutoIncrement", 1), ("FileWriteMode", 2),
    ("NumCapture", 0), ("LazyOpen", 1), ("SWMRMode", 1), ("Compression", 5),
]:
    put("HDF1:" + name, value)
    assert get(f"HDF1:{name}_RBV") == value, name
put("cam1:ImageMode", 1)
put("cam1:NumImages", IMAGES)
begin("HDF1:Capture")
until("HDF1:Capture_RBV", 1)
found["begun"] = [get("HDF1:NumCaptured_RBV"), get("HDF1:FileNumber_RBV"), get("HDF1:WriteStatus_RBV")]
path = get("HDF1:FullFileName_RBV")
found["file"] = path
found["runs"], found["flushed"] = [], []
for run in range(3):
    put("cam1:Acquire", 1)
    found["runs"].append(get("HDF1:NumCaptured_RBV"))
    put("HDF1:FlushNow", 1)
    found["flushed"].append(len(pulses()))
until("HDF1:SWMRActive_RBV", 1)
found["open"] = get("HDF1:Capture_RBV")
put("HDF1:Capture", 0)
found["closed"] = [get("HDF1:Capture_RBV"), get("HDF1:Capture"), get("HDF1:NumCaptured_RBV")]
until("HDF1:SWMRActive_RBV", 0)
found["dropped"] = get("HDF1:DroppedArrays_RBV")
print(json.dumps(found))
close()
"""
"""What stock drivers put, in their order; ``Capture`` completes with the end of the capture, so no client waits for its start."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, runtime_dir: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("hdf1"))
    with bench.ioc as ioc:
        for name in ("M00:State_RBV", "M01:State_RBV", "HDF1:State_RBV"):
            ioc.until(name, "Idle")
        with bench.sending():
            yield bench
        ioc.stop_clean()


@pytest.fixture(autouse=True)
def settings(bench: Bench) -> Iterator[None]:
    """Leave the settings of files as they are without a test."""
    yield
    for name in ("cam1:NDAttributesFile", "HDF1:NDAttributesFile"):
        bench.ioc.put(name, "")
    for name, value in {"FilePath": str(bench.folder), "Compression": 0, "LazyOpen": 0}.items():
        bench.ioc.put(f"HDF1:{name}", value)
    bench.idle()


def check(path: Path, images: int) -> list[int]:
    """The pulses of a file whose images are as they were sent."""
    with h5py.File(path) as file:
        pulses = dataset(file, "data/DET/pulse_id")[:, 0].tolist()
        assert len(pulses) == images
        for row, pulse_id in zip(dataset(file, "entry/data/data"), pulses, strict=True):
            np.testing.assert_array_equal(row, pattern_image(pulse_id, shape=SHAPE))
    return pulses


def capture(bench: Bench, name: str, images: int = IMAGES) -> Path:
    """A file of so many images of one acquisition."""
    bench.set(ImageMode="Multiple", NumImages=images)
    with bench.capturing(name) as path:
        bench.ioc.put("cam1:Acquire", 1)
        assert bench.ended() == ("Idle", "Done", images, images)
    return path


@pytest.mark.parametrize("protocol", list(CLIENTS))
def test_the_stock_order_of_puts(bench: Bench, protocol: str) -> None:
    folder = f"{bench.folder}/new/by/{protocol}/"
    script = f"FOLDER, IMAGES = {folder!r}, {IMAGES}\n{CLIENTS[protocol]}{WALK}"
    found: dict[str, Any] = json.loads(bench.ioc.python(script))
    file = f"{folder}walk_007.h5"
    assert found == {
        "path": [folder, 1],
        "begun": [0, 8, 0],
        "file": file,
        "runs": [IMAGES, 2 * IMAGES, 3 * IMAGES],
        "flushed": [IMAGES, 2 * IMAGES, 3 * IMAGES],
        "open": 1,
        "closed": [0, 0, 3 * IMAGES],
        "dropped": 0,
    }
    pulses = check(Path(file), 3 * IMAGES)
    for run in range(3):
        assert np.diff(pulses[run * IMAGES : (run + 1) * IMAGES]).tolist() == [1] * (IMAGES - 1)
    assert pulses == sorted(set(pulses))


@pytest.mark.long
@pytest.mark.parametrize("name", ["None", "zlib", "Blosc", "BSLZ4", "LZ4"])
def test_a_compression_gives_the_same_pixels(bench: Bench, name: str) -> None:
    bench.ioc.put("HDF1:Compression", name)
    assert bench.ioc.value("HDF1:Compression_RBV") == name
    path = capture(bench, f"compressed-{name}")
    check(path, IMAGES)
    with h5py.File(path) as file:
        kept = dataset(file, "data/DET/data").id.get_storage_size()
    assert (kept == IMAGES * 2 * 2 * SHAPE[0] * SHAPE[1]) == (name == "None")


@pytest.mark.parametrize("name", ["N-bit", "szip", "JPEG"])
def test_a_compression_that_there_is_not_is_refused(bench: Bench, name: str) -> None:
    wanted = f"found {name}, expected one of None, zlib, Blosc, BSLZ4, LZ4: the others are not supported"
    assert bench.ioc.refused("HDF1:Compression", name) == wanted
    assert bench.ioc.value("HDF1:Compression") == bench.ioc.value("HDF1:Compression_RBV") == "None"


@pytest.mark.long
@pytest.mark.parametrize("part", ["cam1", "HDF1"])
@pytest.mark.parametrize("given", ["text", "file"])
def test_attributes_by_text_or_file_have_a_value_for_every_image(bench: Bench, part: str, given: str) -> None:
    bench.ioc.put("cam1:AcquireTime", 0.25)
    xml = (
        '<Attributes><Attribute name="trigger" type="PARAM" source="FRAME_INDEX" datatype="INT64"/>'
        f'<Attribute name="exposure" type="EPICS_PV" source="{bench.ioc.prefix}cam1:AcquireTime_RBV"/>'
        '<Attribute name="sample" type="CONST" source="lysozyme"/></Attributes>'
    )
    listed = bench.folder / "attributes.xml"
    listed.write_text(xml)
    bench.ioc.put(f"{part}:NDAttributesFile", str(listed) if given == "file" else xml)
    path = capture(bench, f"attributes-{part}-{given}", 40)
    with h5py.File(path) as file:
        pulses = dataset(file, "data/DET/pulse_id")[:, 0].tolist()
        values = {name: dataset(file, f"{ATTRIBUTES}/{name}")[:].tolist() for name in ("PulseId", "trigger", "IsGood")}
        assert values == {"PulseId": pulses, "trigger": pulses, "IsGood": [1] * 40}
        assert (
            dataset(file, f"{ATTRIBUTES}/exposure")[-1] == 0.25
        )  # the first may have come before the PV was connected
        assert dataset(file, f"{ATTRIBUTES}/sample").asstr()[:].tolist() == ["lysozyme"] * 40


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<Attributes><Attribute name=", "found a text that is not XML"),
        ('<Attributes><Attribute name="a" type="PARAM" source="NONSENSE"/></Attributes>', "NONSENSE"),
        ("/nowhere/attributes.xml", "/nowhere/attributes.xml cannot be read"),
    ],
)
def test_malformed_attributes_are_refused_and_the_others_stay(bench: Bench, text: str, reason: str) -> None:
    good = '<Attributes><Attribute name="sample" type="CONST" source="ice"/></Attributes>'
    bench.ioc.put("HDF1:NDAttributesFile", good)
    assert reason in bench.ioc.refused("HDF1:NDAttributesFile", text)
    assert bench.ioc.value("HDF1:NDAttributesFile") == good


def test_pools_and_queues_have_sane_figures(bench: Bench) -> None:
    ioc = bench.ioc
    bench.set(ImageMode="Continuous")
    with bench.capturing("queues") as path:
        bench.begin(20)
        most, used = ioc.value("cam1:PoolMaxMem"), ioc.value("cam1:PoolUsedMem")
        assert 0 <= used <= most
        assert most > 2 * 2 * SHAPE[0] * SHAPE[1] / (1 << 20)  # MiB: room for an image at least
        until(
            lambda: [ioc.value(f"cam1:Pool{name}Buffers") for name in ("Alloc", "Free", "Used")],
            lambda found: found[0] == found[1] + found[2] > 0,
        )
        assert ioc.value("cam1:NumQueuedArrays") >= 0
        size = ioc.value("HDF1:QueueSize_RBV")
        until(lambda: (ioc.value("HDF1:QueueFree"), ioc.value("HDF1:QueueUse")), lambda found: sum(found) == size > 0)
        ioc.until("cam1:ArrayRate_RBV", lambda rate: 30 < rate < 50)
        ioc.until("HDF1:ArrayRate_RBV", lambda rate: 30 < rate < 50)
        assert ioc.value("HDF1:DroppedArrays_RBV") == 0
        ioc.put("cam1:Acquire", 0)
        taken = ioc.value("cam1:NumImagesCounter_RBV")
        assert ioc.value("HDF1:NumCaptured_RBV") == taken
    assert len(check(path, taken)) == taken
    assert "totals are never reset" not in ioc.value("Message_RBV")
    assert "found 3, expected 0" in ioc.refused("HDF1:DroppedArrays", 3)


@pytest.mark.long
def test_a_lazy_file_can_be_followed_only_when_it_is_there(tmp_path: Path, runtime_dir: Path, stack: ExitStack) -> None:
    pair = Pair(tmp_path, stack)
    pair.capture("LEFT", "lazy")
    assert pair.ioc.value("LEFT:HDF1:NumCaptured_RBV") == 0
    assert not (tmp_path / "lazy.h5").exists()
    assert pair.ioc.value("LEFT:HDF1:SWMRActive_RBV") == "Off"
    pair.acquire("LEFT", 3)
    pair.ioc.until("LEFT:HDF1:SWMRActive_RBV", "Active")
    assert (tmp_path / "lazy.h5").exists()
    pair.check_file("LEFT", "lazy", 3)
    pair.ioc.until("LEFT:HDF1:SWMRActive_RBV", "Off")
