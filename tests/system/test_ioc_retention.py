"""Retention under the soft-IOC: real files of a buffer, limits by PV, and folders that move."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ioc_process import IocProcess
from tests.support.ioc_setup import start, write_config
from tests.unit.buffer.make import RawBuffer

PULSES = {30: 100_000, 20: 200_000, 10: 300_000}
"""Pulse in each data folder, by the folder's age in hours."""


def make_buffer(root: Path) -> None:
    raw = RawBuffer(root / "DET")
    for hours, pulse_id in PULSES.items():
        then = time.time() - hours * 3600
        for module in raw.modules:
            raw.put(module, pulse_id)
            folder = raw.path(module, pulse_id).parent
            for path in (*folder.iterdir(), folder):
                os.utime(path, (then, then))


def left(root: Path) -> set[str]:
    return {path.name for path in root.glob("DET/M*/*") if path.is_dir()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("retention")


@pytest.fixture(scope="module")
def ioc(folder: Path, runtime_dir: Path) -> Iterator[IocProcess]:
    make_buffer(folder / "data")
    with start(write_config(folder)) as running:
        running.until("M00:State_RBV", "Receiving")
        yield running


def test_it_is_off_by_default_and_shows_what_is_held(ioc: IocProcess, folder: Path) -> None:
    ioc.until("Retention:Folders_RBV", 3)
    assert ioc.value("Retention:State_RBV") == "Disabled"
    assert [ioc.value(f"Retention:{n}_RBV") for n in ("KeepSize", "KeepHours", "KeepFree")] == [0, 0, 0]
    assert ioc.value("Retention:OldestPulse_RBV") == 100_000
    assert ioc.value("Retention:OldestAge_RBV") == pytest.approx(30, abs=0.1)
    held = sum(p.stat().st_blocks * 512 for p in folder.glob("data/DET/M*/*00000/*"))
    assert ioc.value("Retention:Held_RBV") == held > 0
    assert ioc.value("Retention:DeletedFolders_RBV") == 0


def test_a_limit_by_pv_deletes_the_oldest_of_all_modules(ioc: IocProcess, folder: Path) -> None:
    ioc.put("Retention:KeepHours", 25.0)
    ioc.until("Retention:DeletedFolders_RBV", 1)
    assert ioc.value("Retention:KeepHours_RBV") == 25
    assert left(folder / "data") == {"200000", "300000"}
    ioc.until("Retention:State_RBV", "Idle")
    assert "deleted data folder 100000 of" in ioc.value("Retention:LastAction_RBV")
    assert ioc.value("Retention:OldestPulse_RBV") == 200_000
    assert ioc.value("Retention:DeletedBytes_RBV") > 0


def test_what_cannot_be_met_is_said_and_alarms(ioc: IocProcess, folder: Path) -> None:
    ioc.caproto("put", ioc.prefix + "Retention:KeepSize", "0.000001")
    ioc.until("Retention:State_RBV", "Blocked")
    assert left(folder / "data") == {"300000"}
    assert ioc.value("Retention:Message_RBV").endswith("data folder 300000 is to go but is the newest")
    assert ioc.severity("Retention:State_RBV") == 1
    ioc.put("Retention:KeepSize", 0.0)
    ioc.until("Retention:State_RBV", "Idle")


def test_a_refused_limit_does_not_stay(ioc: IocProcess) -> None:
    for record, value in (("KeepHours", -1.0), ("KeepFree", 1e9)):
        before = ioc.value(f"Retention:{record}")
        assert ioc.refused(f"Retention:{record}", value).startswith("found")
        assert ioc.value(f"Retention:{record}") == before


def test_it_follows_the_folder(ioc: IocProcess, folder: Path) -> None:
    ioc.put("Retention:KeepHours", 0.0)
    ioc.until("Retention:State_RBV", "Disabled")
    before = ioc.value("Retention:DeletedFolders_RBV")
    make_buffer(folder / "moved")
    ioc.put("Disk:Folder", str(folder / "moved"))
    ioc.until("Retention:Folders_RBV", 3)
    ioc.put("Retention:KeepHours", 15.0)
    ioc.until("Retention:DeletedFolders_RBV", before + 2)
    assert left(folder / "moved") == {"300000"}
    assert left(folder / "data") == {"300000"}
