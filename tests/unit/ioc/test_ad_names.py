"""Names of areaDetector's: stock classes find every signal, and those that mean one thing refuse another."""

import asyncio
import re

import pytest
from ophyd_async.epics.adcore import ADBaseIO, NDFileHDF5IO
from ophyd_async.epics.core import PvSuffix

from detectors.config import Config, parse_config
from detectors.errors import CommandError
from ioc.ad_names import CAMERA, HDF5_PLUGIN, IMAGE_PLUGIN, handlers
from ioc.templates import loads


@pytest.fixture(scope="module")
def names() -> set[str]:
    config: Config = parse_config(
        '[detector]\nname = "D"\nprefix = "D:"\n[[udp]]\nname = "M00"\nport = 5000\n[hdf5]\nfolder = "/tmp/d"\n[images]\n'
    )
    return {name for load in loads(config) for name in load.names()}


@pytest.mark.parametrize(("part", "kind"), [("cam1", ADBaseIO), ("HDF1", NDFileHDF5IO)])
def test_a_stock_device_finds_every_signal(names: set[str], part: str, kind: type) -> None:
    wanted: set[str] = set()
    for parent in kind.__mro__:
        for annotation in getattr(parent, "__annotations__", {}).values():
            for suffix in getattr(annotation, "__metadata__", ()):
                if isinstance(suffix, PvSuffix):
                    wanted |= {f"D:{part}:{end}" for end in (suffix.read_suffix, suffix.write_suffix) if end}
    assert len(wanted) > 20
    assert wanted <= names


@pytest.mark.parametrize("table", [CAMERA, HDF5_PLUGIN, IMAGE_PLUGIN])
def test_a_table_fits_into_records(table: tuple) -> None:
    assert len({name.name for name in table}) == len(table)
    for name in table:
        assert len(name.description) <= 32, name.name
        assert len(name.value) < 40
        assert len(name.choices) <= 11
        for file, macros in name.records_of("HDF1"):
            assert re.fullmatch(r"fixed_(long|real|text|choice)_(in|out)\.template", file)
            assert len(macros["D"]) <= 40


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
