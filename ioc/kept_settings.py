"""Which setpoints are settings that outlive the IOC, their values as a file keeps them, and the text of that file. Pure."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from detectors.errors import CommandError, ConfigError
from detectors.worker_names import HDF5, image_worker_name
from ioc.bindings import ALL, CommandBinding, Handler
from ioc.refusals import refusal

NOT_KEPT: Final = frozenset(
    (
        # what is done now, not how
        *("acquire", "acquire_end", "camera_acquire", "camera_acquire_end", "capture", "capture_end", "worker_run"),
        *("camera_counter", "capture_counter"),  # counts
        *("camera_given", "capture_queue", "fixed_number", "fixed_text"),  # have one value only
    )
)
"""Handlers of setpoints that are no settings."""

SettingValue = str | int | float
"""A setting as a file keeps it; of choices, the text."""

_LONG: Final = 1 << 31
_TYPES: Final = {"longout": int, "int64out": int, "ao": float}
"""Types of values by record type; all others are text."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setpoint whose value is kept."""

    name: str
    """Name of its record, without the prefix."""
    binding: CommandBinding
    handler: Handler

    @property
    def value(self) -> SettingValue:
        """The value in force."""
        assert self.handler.present is not None
        value = self.handler.present(*self.binding.words)
        choices = self.binding.record.choices
        return choices[int(value)] if choices else value

    @property
    def worker(self) -> str:
        """The worker whose own value counts when it ran before the IOC; empty: none."""
        name, _, detector = self.binding.handler.partition(".")
        if name in ("output_on", "output_folder"):
            return self.binding.words[0]
        return image_worker_name(HDF5, detector) if name == "capture_folder" else ""

    async def apply(self, value: Any) -> None:
        """Set it, as a put would. Raises PebbleDaqError when it is refused."""
        record = self.binding.record
        if record.choices:
            if value not in record.choices:
                raise CommandError(f"found {value!r}, expected one of {', '.join(record.choices)}")
            value = record.choices.index(value)
        else:
            value = _typed(record.kind, value)
        reason = refusal(record, value)
        if reason:
            raise CommandError(reason)
        await self.handler.apply(value, *self.binding.words)


def settings(commands: Iterable[CommandBinding], handlers: Mapping[str, Handler], prefix: str) -> dict[str, Setting]:
    """Return the settings among ``commands`` by their names, those of single sources and not those of all together."""
    found = (
        Setting(command.record.name.removeprefix(prefix), command, handlers[command.handler])
        for command in commands
        if not command.trigger
        and not command.follows
        and command.handler.partition(".")[0] not in NOT_KEPT
        and ALL not in command.words
    )
    return {setting.name: setting for setting in found}


def to_text(prefix: str, saved: str, values: Mapping[str, SettingValue]) -> bytes:
    """Return the text of a file; ``saved`` is the time."""
    return (
        json.dumps({"prefix": prefix, "saved": saved, "settings": values}, indent=1, ensure_ascii=False).encode()
        + b"\n"
    )


def from_text(text: bytes) -> tuple[str, dict[str, Any]]:
    """Return the time and the settings of a file. Raises ConfigError when it is not one of ours."""
    try:
        found = json.loads(text)
        return str(found["saved"]), dict(found["settings"].items())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(f"found no settings in it ({reason}), expected the text that an IOC saved") from None


def _typed(kind: str, value: Any) -> SettingValue:
    """Return a value as EPICS would give it for a record type. Raises CommandError when it is of another type."""
    expected = _TYPES.get(kind, str)
    number = expected is float and type(value) is int
    if type(value) is not expected and not number:
        raise CommandError(f"found {value!r}, expected a value of type {expected.__name__}")
    if kind == "longout" and not -_LONG <= int(value) < _LONG:
        raise CommandError(f"found {value}, expected a number of 32 bits")
    return value
