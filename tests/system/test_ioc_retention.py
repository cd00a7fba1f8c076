"""Retention under the soft-IOC: real files of a buffer, limits by PV, and folders that move."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from detectors.config import load_config
from tests.support.ioc_process import IocProcess
from tests.support.ioc_setup import start, write_config
from tests.support.waiting import until
from tests.unit.buffer.make import RawBuffer

PULSES = {30: 100_000, 20: 101_000, 10: 300_000}
"""Pulse in each data file, by the file's age in hours."""

pytestmark = pytest.mark.long


def make_buffer(root: Path) -> RawBuffer:
    raw = RawBuffer(root / "DET")
    for hours, pulse_id in PULSES.items():
        then = time.time() - hours * 3600
        for module in raw.modules:
            raw.put(module, pulse_id)
            for path in (raw.path(module, pulse_id), raw.meta(module, pulse_id)):
                os.utime(path, (then, then))
    return raw


def left(root: Path) -> set[str]:
    return {path.stem for path in root.glob("DET/M*/*/*.bin")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("retention")


@pytest.fixture(scope="module")
def ioc(folder: Path, runtime_dir: Path) -> Iterator[IocProcess]:
    raw = make_buffer(folder / "data")
    config = write_config(folder)
    raw.claim(load_config(config).detector.prefix)
    with start(config) as running:
        running.until("M00:State_RBV", "Receiving")
        yield running


def test_it_is_off_by_default_and_shows_what_is_held(ioc: IocProcess, folder: Path) -> None:
    ioc.until("Retention:Files_RBV", 6)
    assert ioc.value("Retention:State_RBV") == "Off"
    assert [ioc.value(f"Retention:{n}_RBV") for n in ("KeepSize", "KeepHours", "KeepFree")] == [0, 0, 0]
    ioc.until("Retention:OldestPulse_RBV", 100_000)
    ioc.until("Retention:OldestAge_RBV", lambda age: age == pytest.approx(30, abs=0.1))
    held = sum(p.stat().st_blocks * 512 for p in folder.glob("data/DET/M*/*00000/*"))
    assert ioc.until("Retention:Held_RBV", held) > 0
    assert ioc.value("Retention:DeletedFiles_RBV") == 0


def test_a_limit_by_pv_deletes_the_oldest_of_all_modules(ioc: IocProcess, folder: Path) -> None:
    ioc.put("Retention:KeepHours", 25.0)
    ioc.until("Retention:DeletedFiles_RBV", 2)
    ioc.until("Retention:KeepHours_RBV", 25)
    assert left(folder / "data") == {"101000", "300000"}
    ioc.until("Retention:State_RBV", "Idle")
    ioc.until("Retention:LastAction_RBV", lambda text: "deleted the files 100000.bin of" in text)
    ioc.until("Retention:OldestPulse_RBV", 101_000)
    ioc.until("Retention:DeletedBytes_RBV", bool)


def test_what_cannot_be_met_is_said_and_alarms(ioc: IocProcess, folder: Path) -> None:
    ioc.caproto("put", ioc.prefix + "Retention:KeepSize", "0.000001")
    ioc.until("Retention:State_RBV", "Blocked")
    assert left(folder / "data") == {"300000"}
    ioc.until("Retention:Message_RBV", lambda text: text.endswith("the files 300000.bin are to go but are the newest"))
    until(lambda: ioc.severity("Retention:State_RBV"), lambda severity: severity == 1)
    ioc.put("Retention:KeepSize", 0.0)
    ioc.until("Retention:State_RBV", "Idle")


def test_a_refused_limit_does_not_stay(ioc: IocProcess) -> None:
    for record, value in (("KeepHours", -1.0), ("KeepFree", 1e9)):
        before = ioc.value(f"Retention:{record}")
        assert ioc.refused(f"Retention:{record}", value).startswith("found")
        assert ioc.value(f"Retention:{record}") == before


def test_it_follows_the_folder(ioc: IocProcess, folder: Path) -> None:
    ioc.put("Retention:KeepHours", 0.0)
    ioc.until("Retention:State_RBV", "Off")
    before = ioc.value("Retention:DeletedFiles_RBV")
    moved = make_buffer(folder / "moved")
    moved.claim("OTHER:")
    ioc.put("Disk:Folder", str(folder / "moved"))
    ioc.until("Retention:Files_RBV", 0)
    ioc.put("Retention:KeepHours", 15.0)
    ioc.until("Retention:State_RBV", "Idle")
    assert left(folder / "moved") == {"100000", "101000", "300000"}  # another server's
    moved.claim(ioc.prefix)
    ioc.until("Retention:DeletedFiles_RBV", before + 4)
    assert left(folder / "moved") == {"300000"}
    assert left(folder / "data") == {"300000"}
