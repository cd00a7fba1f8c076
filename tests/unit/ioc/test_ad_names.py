"""Names of areaDetector's: stock classes find every signal, and those that mean one thing refuse another."""

import asyncio
import re
from pathlib import Path

import pytest
from ophyd import Component, Device, DynamicDeviceComponent, EpicsSignalWithRBV, Kind
from ophyd.areadetector import cam, plugins
from ophyd.signal import EpicsSignalBase
from ophyd_async.epics.adcore import ADBaseIO, NDFileHDF5IO, NDPluginBaseIO
from ophyd_async.epics.core import PvSuffix

from detectors.config import Config, parse_config
from detectors.errors import CommandError
from ioc.ad_names import CAMERA, HDF5_PLUGIN, IMAGE_PLUGIN, PVA_PLUGIN, handlers
from ioc.templates import loads


@pytest.fixture(scope="module")
def names() -> set[str]:
    config: Config = parse_config(
        '[detector]\nname = "D"\nprefix = "D:"\n[[udp]]\nname = "M00"\nport = 5000\n[hdf5]\nfolder = "/tmp/d"\n[images]\n'
    )
    return {name for load in loads(config) for name in load.names()}


@pytest.mark.parametrize(
    ("part", "kind"), [("cam1", ADBaseIO), ("HDF1", NDFileHDF5IO), ("image1", NDPluginBaseIO), ("Pva1", NDPluginBaseIO)]
)
def test_a_stock_device_finds_every_signal(names: set[str], part: str, kind: type) -> None:
    wanted: set[str] = set()
    for parent in kind.__mro__:
        for annotation in getattr(parent, "__annotations__", {}).values():
            for suffix in getattr(annotation, "__metadata__", ()):
                if isinstance(suffix, PvSuffix):
                    wanted |= {f"D:{part}:{end}" for end in (suffix.read_suffix, suffix.write_suffix) if end}
    assert len(wanted) > 15
    assert wanted <= names


def _connected(kind: type[Device], prefix: str) -> set[str]:
    """Records that a classic class connects by itself: those that are not lazy, or that it reads as configuration."""
    found: set[str] = set()
    for name in kind.component_names:
        component = getattr(kind, name)
        chosen = not component.lazy or name in kind._default_configuration_attrs or component.kind & Kind.config
        if isinstance(component, Component) and component.suffix and not issubclass(component.cls, Device) and chosen:
            ends = ("", "_RBV") if issubclass(component.cls, EpicsSignalWithRBV) else ("",)
            found |= {f"{prefix}{component.suffix}{end}" for end in ends}
    return found


def _all_of(kind: type[Device], prefix: str) -> set[str]:
    """Records of every signal of a classic class, also those that it connects only when they are used."""
    found: set[str] = set()
    for name in kind.component_names:
        component = getattr(kind, name)
        parts = [(component.cls, component.suffix)]
        if isinstance(component, DynamicDeviceComponent):
            parts = [(cls, suffix) for cls, suffix, _ in component.defn.values()]
        for cls, suffix in parts:
            if suffix is not None and issubclass(cls, EpicsSignalBase):
                ends = ("", "_RBV") if issubclass(cls, EpicsSignalWithRBV) else ("",)
                found |= {f"{prefix}{suffix}{end}" for end in ends}
    return {name.partition(".")[0] for name in found}  # what follows is a field that every record has


@pytest.mark.parametrize(
    ("part", "kind", "least"),
    [
        ("cam1", cam.CamBase, 85),
        ("cam1", cam.SimDetectorCam, 119),
        ("HDF1", plugins.HDF5Plugin, 115),
        ("image1", plugins.ImagePlugin, 45),
        ("Pva1", plugins.PluginBase, 40),
    ],
)
def test_a_classic_device_finds_every_signal(names: set[str], part: str, kind: type[Device], least: int) -> None:
    wanted = _all_of(kind, f"D:{part}:")
    assert len(wanted) >= least
    assert wanted - names <= {f"D:{part}:Dimensions_RBV"}  # Dim0SA and so on have its numbers


@pytest.mark.parametrize(
    ("part", "kind", "least"),
    [
        ("cam1", cam.SimDetectorCam, 8),
        ("HDF1", plugins.HDF5Plugin_V34, 30),
        ("image1", plugins.ImagePlugin_V34, 5),
        ("Pva1", plugins.PvaPlugin_V34, 5),
    ],
)
def test_a_classic_device_finds_what_it_connects(names: set[str], part: str, kind: type[Device], least: int) -> None:
    wanted = _connected(kind, f"D:{part}:")
    assert len(wanted) >= least
    assert wanted <= names


def test_what_classic_devices_set_when_they_are_staged_is_what_is_fixed() -> None:
    fixed = {name.name: name.value for name in (*CAMERA, *HDF5_PLUGIN)}
    staged = {"BlockingCallbacks": "Yes", "EnableCallbacks": "Enable", "ArrayCallbacks": "Enable", "AutoSave": "Yes"}
    staged |= {"TriggerMode": "Internal", "SWMRMode": "On", "ChunkSizeAuto": "Yes", "NumExtraDims": "0"}
    assert staged.items() <= fixed.items()


@pytest.mark.parametrize("table", [CAMERA, HDF5_PLUGIN, IMAGE_PLUGIN, PVA_PLUGIN])
def test_a_table_fits_into_records(table: tuple) -> None:
    assert len({name.name for name in table}) == len(table)
    for name in table:
        assert len(name.description) <= 32, name.name
        assert len(name.value) < 40
        assert len(name.choices) <= 11
        for file, macros in name.records_of("HDF1"):
            assert re.fullmatch(r"fixed_(long|real|text|choice)_(in|out)\.template", file)
            assert len(macros["D"]) <= 40


def test_the_page_has_every_fixed_name() -> None:
    tables = {"cam1": CAMERA, "HDF1": HDF5_PLUGIN, "image1": IMAGE_PLUGIN, "Pva1": PVA_PLUGIN}
    rows = [
        f"| `{part}:{name.name}` | {name.value or 'empty'} | {name.description} |"
        for part, table in tables.items()
        for name in table
    ]
    page = (Path(__file__).parents[3] / "docs/reference/areadetector.md").read_text()
    assert page.split("|---|---|---|\n")[1].splitlines() == rows


def test_names_on_the_page_exist(names: set[str]) -> None:
    page = (Path(__file__).parents[3] / "docs/reference/areadetector.md").read_text()
    named = re.findall(r"`((?:cam1|HDF1|image1):\w+)`", page.split("## Names with one value")[0])
    assert len(named) > 20
    assert {f"D:{name}" for name in named} <= names


def test_another_value_is_refused() -> None:
    number, text = handlers()["fixed_number"], handlers()["fixed_text"]
    asyncio.run(number.apply(1, "1"))
    asyncio.run(number.apply(1, "1.0"))
    asyncio.run(text.apply("", *[]))
    asyncio.run(text.apply("a b", "a", "b"))
    assert number.present
    assert number.present("1.5") == 1.5
    assert isinstance(number.present("3"), int)
    with pytest.raises(CommandError, match="found 2, expected 1"):
        asyncio.run(number.apply(2, "1"))
    with pytest.raises(CommandError, match="found 'x', expected ''"):
        asyncio.run(text.apply("x"))
