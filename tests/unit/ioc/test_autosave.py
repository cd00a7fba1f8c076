import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from detectors.config import parse_config
from detectors.errors import CommandError, ConfigError
from ioc.autosave import DELAY_S, RETRY_S, Autosave, autosave_file
from ioc.bindings import Bindings, CommandBinding, Handler, StaticRecord
from ioc.kept_settings import from_text

CONFIGURED = {"A": 1, "B": "b", "udp.M00": "/data"}


class Rig:
    """Three settings; that of ``udp.M00`` is also known from the status of that worker; negative numbers and the folder /gone are refused."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.values: dict[str, Any] = dict(CONFIGURED)
        self.autosave = Autosave(file, "T:")
        kinds = {"A": ("longout", "set"), "B": ("waveform", "set"), "udp.M00": ("waveform", "output_folder")}
        commands = tuple(
            CommandBinding(StaticRecord(kind, f"T:{name}"), handler, (name,), trigger=False)
            for name, (kind, handler) in kinds.items()
        )
        handler = Handler(self._set, lambda name: self.values[name])
        self.autosave.bind(Bindings((), commands), {"set": handler, "output_folder": handler})
        self.now_s = 100.0

    async def _set(self, value: Any, name: str) -> None:
        if value in (-1, "/gone"):
            raise CommandError(f"found {value}, expected another")
        self.values[name] = value

    async def follow(self, more_s: float = 0.0) -> None:
        """Let time pass, and a file be written."""
        self.now_s += more_s
        self.autosave.follow(self.now_s)
        if self.autosave._writing:
            await asyncio.wait([asyncio.wrap_future(self.autosave._writing[0])])
        self.autosave.follow(self.now_s)

    def saved(self) -> dict[str, Any]:
        return from_text(self.file.read_bytes())[1]


# What touches the disk, for tests on an event loop.
is_there, put, content, remove = Path.exists, Path.write_bytes, Path.read_bytes, Path.unlink


def changed_ns(file: Path) -> int:
    return file.stat().st_mtime_ns


def in_loop(test: Callable[[Path], Coroutine[Any, Any, None]]) -> Callable[[Path], None]:
    def run(tmp_path: Path) -> None:
        asyncio.run(test(tmp_path / "settings"))

    return run


@in_loop
async def test_nothing_is_written_while_all_is_as_configured(file: Path) -> None:
    rig = Rig(file)
    await rig.follow(10 * DELAY_S)
    await rig.autosave.close()
    assert not is_there(file)
    assert rig.autosave.status.state == "Idle"


@in_loop
async def test_what_changed_is_saved_a_little_later(file: Path) -> None:
    rig = Rig(file)
    rig.values["A"] = 2
    await rig.follow()
    assert rig.autosave.status.state == "Saving"
    rig.values["B"] = "c"
    await rig.follow(DELAY_S - 0.1)
    assert not is_there(file)
    await rig.follow(0.2)
    assert rig.autosave.status.state == "Idle"
    assert rig.saved() == {"A": 2, "B": "c"}


@in_loop
async def test_what_changed_is_saved_at_the_end(file: Path) -> None:
    rig = Rig(file)
    rig.values["A"] = 2
    await rig.follow()
    await rig.autosave.close()
    assert rig.saved() == {"A": 2}


@in_loop
async def test_what_was_saved_is_restored(file: Path) -> None:
    first = Rig(file)
    first.values |= {"A": 2, "udp.M00": "/other"}
    await first.autosave.close()
    second = Rig(file)
    await second.autosave.restore(())
    assert second.values == {"A": 2, "B": "b", "udp.M00": "/other"}
    assert second.autosave.status.restored == 2
    assert second.autosave.status.message.startswith("restored 2 settings of ")
    before = changed_ns(file)
    await second.follow(10 * DELAY_S)
    assert changed_ns(file) == before


@in_loop
async def test_a_worker_that_ran_tells_its_own_settings(file: Path) -> None:
    first = Rig(file)
    first.values |= {"A": 2, "udp.M00": "/other"}
    await first.autosave.close()
    second = Rig(file)
    await second.autosave.restore(["udp.M00"])
    assert second.values == CONFIGURED | {"A": 2}
    assert second.autosave.status.message.endswith("; 1 stay as the workers that ran have them")
    await second.autosave.close()
    assert second.saved() == {"A": 2}


@in_loop
async def test_what_is_refused_is_shown_and_tried_again_until_it_is_set(file: Path) -> None:
    put(file, b'{"saved": "today", "settings": {"A": 5, "udp.M00": "/gone", "C": 1}}')
    rig = Rig(file)
    await rig.autosave.restore(())
    assert rig.values == CONFIGURED | {"A": 5}
    status = rig.autosave.status
    assert (status.restored, status.refused) == (1, 1)
    assert status.message == (
        "restored 1 settings of today; udp.M00 refused: found /gone, expected another; "
        "C refused: this configuration has no such setting"
    )
    rig.values["B"] = "c"
    await rig.follow()
    await rig.follow(DELAY_S)
    assert rig.saved() == {"A": 5, "B": "c", "udp.M00": "/gone"}
    rig.values["udp.M00"] = "/new"
    await rig.follow()
    await rig.follow(DELAY_S)
    assert rig.saved() == {"A": 5, "B": "c", "udp.M00": "/new"}
    assert rig.autosave.status.refused == 0


@in_loop
async def test_a_corrupt_file_is_set_aside_and_the_start_goes_on(file: Path) -> None:
    put(file, b'{"saved": "today", "sett')
    rig = Rig(file)
    await rig.autosave.restore(())
    assert rig.values == CONFIGURED
    assert rig.autosave.status.message.startswith(f"{file}: found no settings in it (JSONDecodeError")
    assert rig.autosave.status.message.endswith("; it is now settings.refused, and nothing is restored")
    assert not is_there(file)
    assert content(file.with_name("settings.refused")) == b'{"saved": "today", "sett'


@in_loop
async def test_a_folder_that_cannot_be_written_is_said_once_and_tried_again(file: Path) -> None:
    put(file, b"a file where a folder must be")
    rig = Rig(file / "settings")
    rig.values["A"] = 2
    await rig.follow()
    await rig.follow(DELAY_S)
    assert rig.autosave.status.state == "Failing"
    assert rig.autosave.status.message == f"{file}/settings cannot be written: File exists; settings are not saved"
    remove(file)
    await rig.follow(RETRY_S)
    assert rig.autosave.status.state == "Idle"
    assert rig.autosave.status.message == ""
    assert rig.saved() == {"A": 2}


CAMERA = '[detector]\nname = "D"\nprefix = "D:"\n[[pva]]\nname = "CAM"\npv = "X"\n'


@pytest.mark.parametrize("value", ["false", '""'])
def test_it_can_be_switched_off(value: str) -> None:
    assert autosave_file(parse_config(f"{CAMERA}[ioc]\nautosave = {value}\n")) is None


def test_where_the_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def folder(more: str = "") -> str:
        file = autosave_file(parse_config(CAMERA + more))
        assert file is not None
        assert file.name == "D-4eac8087.settings"
        return str(file.parent)

    monkeypatch.setenv("HOME", "/home-of-tests")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert folder() == "/home-of-tests/.local/state/pebbledaq"
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert folder() == "/state/pebbledaq"
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/daq:/var/lib/more")
    assert folder() == "/var/lib/daq"
    assert folder('[ioc]\nautosave = "/elsewhere"\n') == "/elsewhere"


def test_a_folder_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="autosave"):
        parse_config(f"{CAMERA}[ioc]\nautosave = 3\n")
    with pytest.raises(ConfigError, match="relative path"):
        parse_config(f'{CAMERA}[ioc]\nautosave = "here"\n')
