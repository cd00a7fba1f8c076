import asyncio
import re
from typing import Any

import pytest

from detectors.errors import CommandError, ConfigError
from ioc.bindings import CommandBinding, Handler, StaticRecord
from ioc.kept_settings import NOT_KEPT, Setting, from_text, settings, to_text
from ioc.templates import TEMPLATES


def binding(kind: str, handler: str, *words: str, trigger: bool = False, **fields: str) -> CommandBinding:
    return CommandBinding(StaticRecord(kind, f"T:{handler}{''.join(words)}", fields), handler, words, trigger)


class Held:
    """A handler that takes every value."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.handler = Handler(self._apply, lambda *_: self.value)

    async def _apply(self, value: Any, *_: str) -> None:
        self.value = value


def setting(held: Held, kind: str, **fields: str) -> Setting:
    return Setting("X", binding(kind, "x", **fields), held.handler)


def test_what_is_done_now_is_no_setting() -> None:
    commands = [
        binding("bo", "output_on", "udp.M00", "disk"),
        binding("bo", "output_on", "all", "disk"),
        binding("bo", "worker_run", "udp.M00"),
        binding("bo", "camera_acquire.CAM"),
        binding("longout", "camera_setting.CAM", "num_images"),
        binding("bo", "transition", "Enable", trigger=True),
    ]
    handlers = {command.handler: Held(0).handler for command in commands}
    assert list(settings(commands, handlers, "T:")) == ["output_onudp.M00disk", "camera_setting.CAMnum_images"]


def test_every_exception_names_a_command_of_the_templates() -> None:
    text = "".join(path.read_text() for path in TEMPLATES.glob("*.template"))
    assert set(re.findall(r"pebbledaq:command, \"(\w+)", text)) >= NOT_KEPT


def test_choices_are_kept_as_texts() -> None:
    held = Held(1)
    kept = setting(held, "bo", ZNAM="Off", ONAM="On")
    assert kept.value == "On"
    asyncio.run(kept.apply("Off"))
    assert held.value == 0
    with pytest.raises(CommandError, match=r"^found 'Maybe', expected one of Off, On$"):
        asyncio.run(kept.apply("Maybe"))


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("longout", "7", "found '7', expected a value of type int"),
        ("longout", 1 << 31, "found 2147483648, expected a number of 32 bits"),
        ("longout", True, "found True, expected a value of type int"),
        ("ao", float("inf"), "found inf, expected a number"),
        ("ao", 11, "found 11, expected 0 to 10"),
        ("waveform", 3, "found 3, expected a value of type str"),
        ("waveform", None, "found None, expected a value of type str"),
    ],
)
def test_a_value_that_the_record_cannot_take_is_refused(kind: str, value: Any, reason: str) -> None:
    held = Held(0)
    with pytest.raises(CommandError, match=rf"^{reason}$"):
        asyncio.run(setting(held, kind, LOPR="0", HOPR="10").apply(value))
    assert held.value == 0


def test_a_whole_number_will_do_for_a_real_one() -> None:
    held = Held(0.0)
    asyncio.run(setting(held, "ao").apply(5))
    assert held.value == 5


@pytest.mark.parametrize(
    ("handler", "words", "worker"),
    [
        ("output_folder", ("udp.M00",), "udp.M00"),
        ("capture_folder", (), "hdf5"),
        ("capture_folder.CAM", (), "hdf5.CAM"),
        ("capture_setting", ("images",), ""),
    ],
)
def test_some_settings_are_told_by_a_worker(handler: str, words: tuple[str, ...], worker: str) -> None:
    assert Setting("X", binding("waveform", handler, *words), Held("").handler).worker == worker


def test_a_file_says_what_was_saved() -> None:
    values = {"M00:Disk:On": "Off", "HDF1:NumCapture": 7, "Path": "/a/é"}
    assert from_text(to_text("T:", "today", values)) == ("today", values)


@pytest.mark.parametrize(
    "text", [b"", b"\xff\xfe", b"[]", b'{"saved": 1}', b'{"saved": 1, "settings": [1]}', b"[" * 10**5]
)
def test_any_other_file_is_refused_in_one_line(text: bytes) -> None:
    with pytest.raises(
        ConfigError, match=r"^found no settings in it \(.*\), expected the text that an IOC saved$"
    ) as error:
        from_text(text)
    assert "\n" not in str(error.value)
