"""PVI: what generic clients find of a server with modules, a camera, a stream, an HDF5 writer and live images."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from detectors.config import load_config
from ioc.templates import loads
from tests.support.examples import write_example
from tests.support.ioc_process import IocProcess

PARTS = ("cam1", "HDF1", "Pva1", "image1")

DEVICES = {
    "m00": "M00:",
    "m01": "M01:",
    "cam": "CAM:",
    "both": "BOTH:",
    "stream": "Stream:",
    "web": "Web:",
    "process": "Process:",
} | {f"{detector.lower()}.{part.lower()}": f"{detector}:{part}:" for detector in ("CAM", "BOTH") for part in PARTS}

FILL = """
import asyncio, json
from ophyd_async.core import Device, SignalR, SignalW
from ophyd_async.fastcs.core import fastcs_connector

async def main():
    device = Device(name="daq", connector=fastcs_connector(P))
    await device.connect(timeout=20)
    found = {}
    async def walk(part, path):
        for name, child in part.children():
            if isinstance(child, SignalR):
                (described,) = (await child.describe()).values()
                value = await child.get_value()
                found[f"{path}{name}"] = [type(child).__name__, type(value).__name__, described.get("choices"), str(value)[:80]]
            elif isinstance(child, Device) and list(child.children()):
                await walk(child, f"{path}{name}.")
            else:
                found[f"{path}{name}"] = [type(child).__name__, "", None, ""]
    await walk(device, "")
    print(json.dumps(found))

asyncio.run(main())
"""

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def config_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_example("both", tmp_path_factory.mktemp("pvi"))


@pytest.fixture(scope="module")
def ioc(config_path: Path, runtime_dir: Path) -> Iterator[IocProcess]:
    prefix = load_config(config_path).detector.prefix
    with IocProcess(prefix, "-m", "ioc", "run", str(config_path)) as running:
        for name in ("M00:", "M01:", "CAM:", "Stream:", "BOTH:HDF1:", "CAM:Pva1:"):
            running.until(f"{name}Running_RBV", "Yes")
        running.until("M00:Disk:Folder_RBV", bool)
        yield running


def structure(ioc: IocProcess, name: str) -> dict[str, dict[str, str]]:
    found = ioc.pva.get(name, timeout=10.0)
    assert found.getID() == "epics:nt/NTPVI:1.0"
    return found.value.todict()


@pytest.fixture(scope="module")
def tree(ioc: IocProcess) -> dict[str, dict[str, str]]:
    """All signals, by their path."""
    signals: dict[str, dict[str, str]] = {}
    devices: dict[str, str] = {}

    def walk(pv: str, path: str) -> None:
        for member, entry in structure(ioc, pv).items():
            if "d" in entry:
                devices[path + member] = entry["d"]
                walk(entry["d"], f"{path}{member}.")
            else:
                signals[path + member] = entry

    walk(f"{ioc.prefix}PVI", "")
    assert devices == {name: f"{ioc.prefix}{part}PVI" for name, part in DEVICES.items()}
    return signals


@pytest.fixture(scope="module")
def filled(ioc: IocProcess) -> dict[str, list[Any]]:
    """What the stock connector makes of it: kind, type of the value, choices and value of every signal."""
    return json.loads(ioc.python(FILL))


def test_every_record_is_in_the_tree_once(tree: dict[str, dict[str, str]], config_path: Path) -> None:
    found = sorted(pv for entry in tree.values() for pv in entry.values())
    made = [name for load in loads(load_config(config_path)) for name in load.names()]
    partners = [name for name in made if name.endswith(("AcquireBusy", "CaptureBusy"))]
    assert len(partners) >= 3
    heads = [name for name in made if name.endswith("PVI_")]
    assert len(heads) == 1 + len(DEVICES)
    hidden = {name for name in made if name.endswith("Busy")} | set(heads)
    assert found == sorted(set(made) - hidden)
    assert len(tree) > 600


def test_every_signal_is_for_something(tree: dict[str, dict[str, str]], ioc: IocProcess) -> None:
    for path, entry in tree.items():
        assert set(entry) in ({"r"}, {"rw"}, {"x"}, {"r", "w"}), path
    assert tree["configure"].keys() == {"x"}
    assert tree["m00.run"].keys() == {"r", "w"}
    assert tree["m00.disk_on"]["w"].endswith(":M00:Disk:On")
    assert tree["disk_on"].keys() == {"rw"}
    assert tree["both.hdf1.file_path"]["r"].endswith(":BOTH:HDF1:FilePath_RBV")
    assert tree["cam.cam1.num_images"].keys() == {"r", "w"}
    assert tree["both.image1.array_data"].keys() == {"r"}
    assert tree["acquire"] == {"w": f"{ioc.prefix}Acquire", "r": f"{ioc.prefix}Acquire_RBV"}
    for name in ("m00", "m01", "cam"):
        for member in ("run", "state", "pulse_id", "pebble_in_use", "disk_written", "zmq_dropped"):
            assert f"{name}.{member}" in tree
        assert (f"{name}.transition_in_use" in tree) == (f"{name}.shape" in tree) == (name == "cam")


def test_a_setpoint_has_the_type_and_the_choices_of_its_readback(
    tree: dict[str, dict[str, str]], ioc: IocProcess
) -> None:
    checked = 0
    for path, entry in tree.items():
        if entry.keys() == {"r", "w"}:
            read, written = (ioc.pva.get(entry[what], timeout=10.0) for what in "rw")
            assert read.type().aspy("value") == written.type().aspy("value"), path
            if read.getID() == "epics:nt/NTEnum:1.0":
                assert read.value.choices == written.value.choices, path
                checked += 1
    assert checked >= 20


def test_the_stock_connector_fills_the_whole_tree(
    tree: dict[str, dict[str, str]], filled: dict[str, list[Any]]
) -> None:
    assert filled.keys() == tree.keys()
    kinds = {"r": "SignalR", "rw": "SignalRW", "x": "TriggerableCommand"}
    for path, entry in tree.items():
        assert filled[path][0] == kinds["rw" if "w" in entry else next(iter(entry))], path


def test_long_texts_are_texts_and_choices_are_choices(filled: dict[str, list[Any]], ioc: IocProcess) -> None:
    for path in (
        "plan",
        "message",
        "m00.disk_folder",
        "both.hdf1.file_path",
        "cam.hdf1.file_name",
        "cam.cam1.status_message",
    ):
        assert filled[path][1] == "str", path
    assert filled["m00.disk_folder"][3] == ioc.value("M00:Disk:Folder_RBV")[:80]
    assert filled["m00.run"][2] == ["Stop", "Run"]
    assert filled["m00.disk_on"][2] == ["Off", "On"]
    assert len(filled["both.hdf1.compression"][2]) == 8
    assert filled["both.cam1.image_mode"][2] == ["Single", "Multiple", "Continuous"]
    assert filled["m00.pulse_id"][1] == "int"
    assert filled["m00.frame_rate"][1] == "float"
