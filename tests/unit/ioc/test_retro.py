"""Retroactive files by PV: settings, what is refused, and the process that makes a file."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import pytest

from detectors.buffer.data_map import MappedDetector, MappedModule
from detectors.config import Hdf5Section
from detectors.errors import CommandError
from ioc.retro import Retro
from tests.support.hdf5 import dataset
from tests.unit.buffer.make import RawBuffer
from tests.unit.buffer.spread import Spread

FIRST, LAST = 990, 2200


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> RawBuffer:
    return RawBuffer(tmp_path_factory.mktemp("retro") / "DET").fill(range(FIRST, LAST + 1))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


@pytest.fixture
def retro(raw: RawBuffer, files: Path) -> Retro:
    return made(files, [MappedModule(name, raw.folder / name) for name in raw.modules])


def made(files: Path, modules: Iterable[MappedModule], host: str | None = None) -> Retro:
    detector = MappedDetector("DET", tuple(modules))
    return Retro(Hdf5Section(folder=files, roots=(files,), host=host), lambda: detector, files.parent / "det.map.json")


async def put(retro: Retro, **values: Any) -> None:
    for name, value in values.items():
        await retro.handlers()["retro_setting"].apply(value, name)


def shown(retro: Retro, name: str) -> Any:
    present = retro.handlers()["retro_setting"].present
    assert present is not None
    return present(name)


async def write(retro: Retro) -> None:
    await retro.handlers()["retro_write"].apply()


def test_settings_are_shown_as_they_are_used(retro: Retro, files: Path) -> None:
    (files / "deeper").mkdir()
    asyncio.run(put(retro, start=-2.5, stop=17, mode=1, file_path=f"{files}/deeper", file_name="found"))
    names = ("start", "stop", "mode", "file_path", "file_name")
    assert [shown(retro, name) for name in names] == [-2.5, 17.0, 1, f"{files}/deeper/", "found"]
    assert retro.status.mode == "Copy"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("start", float("nan"), "expected a pulse_id up to 9007199254740992, or 0 and below: seconds before now"),
        ("stop", float("inf"), "found inf"),
        ("stop", 2.0**54, "expected a pulse_id up to"),
        ("file_path", "/etc", "expected a place below the roots"),
        ("file_path", "files", "expected an absolute path"),
        ("file_name", "../out", "expected a file inside FilePath"),
        ("file_name", "a\nb", "expected characters that can be printed"),
    ],
)
def test_a_refused_setting_does_not_stay(retro: Retro, name: str, value: Any, reason: str) -> None:
    before = retro.status
    with pytest.raises(CommandError, match=reason):
        asyncio.run(put(retro, **{name: value}))
    assert retro.status == before


def test_the_records_follow_a_file_that_is_made(retro: Retro, files: Path) -> None:
    states: list[tuple[str, int, str]] = []
    retro.show = lambda: states.append((retro.status.state, retro.status.images, retro.status.file))

    async def all_at_once() -> None:
        await put(retro, start=1000, stop=1004, file_name="five")
        await write(retro)

    asyncio.run(all_at_once())
    assert states == [("Writing", 0, ""), ("Idle", 5, f"{files}/five.h5")]
    assert retro.status.message == ""
    with h5py.File(files / "five.h5") as file:
        pulses = dataset(file, "data/DET/pulse_id")
        assert pulses[:, 0].tolist() == [1000, 1001, 1002, 1003, 1004]


def test_a_long_view_has_all_images_and_copies_none(retro: Retro, files: Path) -> None:
    async def written() -> None:
        await put(retro, start=FIRST, stop=LAST, file_name="long")
        await write(retro)

    asyncio.run(written())
    assert retro.status.images == LAST - FIRST + 1 > 1000
    (path,) = files.glob("long*")
    with h5py.File(path) as file:
        images = file["entry/data/data"]
        assert images.shape[0] == retro.status.images
        assert images.is_virtual or images.external
        assert path.stat().st_size < images.nbytes


def test_one_file_at_a_time(retro: Retro) -> None:
    async def twice() -> None:
        await put(retro, start=1000, stop=1004)
        first = asyncio.create_task(write(retro))
        await asyncio.sleep(0)
        with pytest.raises(CommandError, match="a file is being made already; wait for its end"):
            await write(retro)
        assert retro.status.state == "Writing"
        await first

    asyncio.run(twice())
    assert (retro.status.state, retro.status.images) == ("Idle", 5)


def test_a_process_that_is_killed_leaves_a_reason_and_no_file(retro: Retro, files: Path) -> None:
    async def killed() -> None:
        await put(retro, start=FIRST, stop=LAST)
        writing = asyncio.create_task(write(retro))
        while not writing.done():
            retro.close()
            await asyncio.sleep(0.01)
        await writing

    with pytest.raises(CommandError, match=r"retro\.h5: the process that makes it ended: exit code -9"):
        asyncio.run(killed())
    assert (retro.status.state, retro.status.images, retro.status.file) == ("Failed", 0, "")
    assert "exit code -9" in retro.status.message
    assert not (files / "retro.h5").exists()
    asyncio.run(write(retro))  # and the next one is made
    assert retro.status.state == "Idle"


def test_a_range_that_is_gone_says_why(retro: Retro, files: Path) -> None:
    asyncio.run(put(retro, start=5, stop=9))
    with pytest.raises(CommandError, match="the buffer holds nothing of pulses 5 to 9"):
        asyncio.run(write(retro))
    assert retro.status.state == "Failed"
    assert list(files.iterdir()) == []


@pytest.mark.parametrize("gone", [False, True])
def test_modules_of_several_hosts_make_one_file(files: Path, tmp_path: Path, gone: bool) -> None:
    spread = Spread(tmp_path, {"daq1": ("M00",), "daq2": ("M01",)}, range(10, 13))
    retro = made(files, [MappedModule(name, spread.folder(name), host) for host, (name,) in spread.hosts.items()])
    if gone:
        spread.unmount("daq2")

    async def all_at_once() -> None:
        await put(retro, start=10)
        await write(retro)

    asyncio.run(all_at_once())
    assert (retro.status.state, retro.status.images) == ("Idle", 3)
    missing = f"M01: missing: {spread.folder('M01')} of host daq2 cannot be seen: No such file or directory"
    assert retro.status.message == (missing if gone else "")
    with h5py.File(retro.status.file) as file:
        data = dataset(file, "data/DET/data")
        assert (data[1] == spread.image(11, without=("M01",) if gone else ())).all()
    assert not (files.parent / "det.map.json").exists()


def test_a_map_that_cannot_be_written_is_a_reason(files: Path, raw: RawBuffer) -> None:
    retro = made(files, [MappedModule(name, raw.folder / name, "daq1") for name in raw.modules])
    (files.parent / "det.map.json").mkdir()
    (files.parent / "det.map.json" / "kept").touch()
    with pytest.raises(CommandError, match=r"det\.map\.json: cannot be written: Is a directory"):
        asyncio.run(write(retro))
    assert retro.status.state == "Failed"


def test_files_of_another_host_are_not_made_here(raw: RawBuffer, files: Path) -> None:
    retro = made(files, [MappedModule("M00", raw.folder / "M00")], host="daq3")
    with pytest.raises(CommandError, match=r"HDF5 files are made on daq3, .*; use pebbledaq write on daq3"):
        asyncio.run(write(retro))
    assert retro.status.state == "Failed"


def test_a_folder_that_leads_outside_meanwhile_is_refused(retro: Retro, files: Path, tmp_path: Path) -> None:
    (files / "inside").mkdir()
    asyncio.run(put(retro, file_path=f"{files}/inside"))
    (files / "inside").rmdir()
    (tmp_path / "outside").mkdir()
    (files / "inside").symlink_to(tmp_path / "outside")
    with pytest.raises(CommandError, match="expected a place below the roots"):
        asyncio.run(write(retro))
    assert list((tmp_path / "outside").iterdir()) == []
