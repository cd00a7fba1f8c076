"""Autosave: what was set is kept in a file, and set again at the next start, through the handlers of the setpoints.

Only what differs from the configuration is kept: a setting that was not changed goes on following the configuration. What
workers that ran before the IOC say of themselves wins over the file.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from detectors.buffer.atomic import write_atomically
from detectors.buffer.regular import read_regular
from detectors.config import Config
from detectors.errors import ConfigError, PebbleDaqError
from detectors.workers.file_thread import FileThread
from ioc.bindings import Bindings, Handler
from ioc.kept_settings import Setting, SettingValue, from_text, settings, to_text

log = logging.getLogger(__name__)

OWNER: Final = "autosave"
"""Stands for the autosave in bindings."""

DELAY_S: Final = 2.0
"""Settings are saved so long after the first of several changes, s."""

RETRY_S: Final = 10.0
"""After a failure it is tried again so much later, s."""

_TIMEOUT_S: Final = 5.0
"""Neither start nor end waits longer for the file system, s."""


@dataclass(frozen=True, slots=True)
class AutosaveStatus:
    """The autosave as the records show it."""

    state: str = "Off"
    restored: int = 0
    """Settings of the file that were applied at the start."""
    refused: int = 0
    """Settings of the file that were refused, and have not been set since."""
    message: str = ""
    file: str = ""


def autosave_file(config: Config) -> Path | None:
    """Return the file of a configuration's settings; None when they are not to be saved.

    Unless the configuration names the folder, it is the one that systemd keeps for the service (``StateDirectory=``), or
    ``pebbledaq`` in the account's folder for state. Raises ConfigError when the account has none.
    """
    folder = config.ioc.autosave
    if folder is False:
        return None
    if folder is None:
        service, state = os.environ.get("STATE_DIRECTORY"), os.environ.get("XDG_STATE_HOME")
        try:
            folder = (
                Path(service.partition(":")[0])
                if service
                else Path(state or "~/.local/state").expanduser() / "pebbledaq"
            )
        except RuntimeError:
            raise ConfigError(
                "ioc.autosave: found no home folder of this account to save settings in; name a folder, or false for none"
            ) from None
    return folder / f"{config.runtime_names.key}.settings"


class Autosave:
    """Keeps the settings of one server. Made on the event loop; without a ``file`` it does nothing."""

    def __init__(self, file: Path | None, prefix: str) -> None:
        self.status = AutosaveStatus("Idle" if file else "Off", file=str(file or ""))
        self._file = file
        self._prefix = prefix
        self._thread = FileThread() if file else None
        self._settings: dict[str, Setting] = {}
        self._configured: dict[str, SettingValue] = {}
        self._saved: dict[str, SettingValue] = {}
        """What the file holds."""
        self._refused: dict[str, tuple[SettingValue, SettingValue]] = {}
        """What the file holds and was refused, and the value in force then: kept until that changes."""
        self._due_s = 0.0
        """When to save, on the monotonic clock; 0: there is nothing to save."""
        self._writing: tuple[Future[Any], dict[str, SettingValue]] | None = None

    def bind(self, bindings: Bindings, handlers: Mapping[str, Handler]) -> None:
        """Take the settings, with the values in force as those that are configured."""
        if self._file:
            self._settings = settings(bindings.commands, handlers, self._prefix)
            self._configured = {name: setting.value for name, setting in self._settings.items()}

    async def restore(self, adopted: Collection[str]) -> None:
        """Apply what was saved; the settings of ``adopted`` workers stay. What is wrong is logged and shown, never raised."""
        if not self._file:
            return
        try:
            text = await self._do(read_regular)
        except FileNotFoundError:
            return
        except OSError as error:
            self._failed(f"{self._file} cannot be read: {_reason(error)}; nothing is restored")
            return
        try:
            saved, found = from_text(text)
        except ConfigError as error:
            aside = self._file.with_name(f"{self._file.name}.refused")
            with suppress(OSError):
                await self._do(lambda file: file.replace(aside))
            self._say(f"{self._file}: {error}; it is now {aside.name}, and nothing is restored")
            return
        await self._apply(saved, found, adopted)

    def follow(self, now_s: float) -> None:
        """Save what has changed, when it is time."""
        if not self._file:
            return
        if self._writing and self._writing[0].done():
            self._written(now_s)
        values = self._values()
        if values == self._saved:
            self._due_s = 0.0
            self.status = replace(self.status, state="Idle", refused=len(self._refused))
            return
        self._due_s = self._due_s or now_s + DELAY_S
        state = "Failing" if self.status.state == "Failing" else "Saving"
        self.status = replace(self.status, state=state, refused=len(self._refused))
        if now_s >= self._due_s and not self._writing:
            self._write(values)

    async def close(self) -> None:
        """Save what has changed, unless the file system hangs."""
        if not self._thread:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_TIMEOUT_S):
                if self._writing:
                    await asyncio.wait([asyncio.wrap_future(self._writing[0])])
                    self._written(0.0)
                values = self._values()
                if values != self._saved and self._configured:
                    await asyncio.wait([asyncio.wrap_future(self._write(values))])
                    self._written(0.0)
        self._thread.close()

    async def _apply(self, saved: str, found: Mapping[str, Any], adopted: Collection[str]) -> None:
        """Apply the settings ``found``, in the order of the records; those refused once more, since one can depend on another."""
        known = {name: found[name] for name in self._settings if name in found}
        told = {name for name in known if self._is_told(self._settings[name], adopted)}
        left = {name: value for name, value in known.items() if name not in told}
        problems: dict[str, str] = {}
        for _ in range(2):
            problems = {name: reason for name, value in left.items() if (reason := await self._set(name, value))}
            left = {name: left[name] for name in problems}
        self._refused = {name: (value, self._settings[name].value) for name, value in left.items()}
        # A value of the wrong type would otherwise be written again and again.
        self._saved = {name: value for name, value in known.items() if isinstance(value, SettingValue)}
        restored = len(known) - len(told) - len(problems)
        parts = [f"restored {restored} settings of {saved}"] if restored else []
        parts += [f"{len(told)} stay as the workers that ran have them"] if told else []
        parts += [f"{name} refused: {reason}" for name, reason in problems.items()]
        parts += [f"{name} refused: this configuration has no such setting" for name in found.keys() - known]
        self.status = replace(self.status, restored=restored, refused=len(problems), message="; ".join(parts))
        for part in parts:
            log.log(logging.WARNING if " refused: " in part else logging.INFO, "%s", part)

    def _is_told(self, setting: Setting, adopted: Collection[str]) -> bool:
        return setting.worker in adopted or setting.value != self._configured[setting.name]

    async def _set(self, name: str, value: Any) -> str:
        """Apply one setting; return why it is refused."""
        try:
            await self._settings[name].apply(value)
        except PebbleDaqError as error:
            return str(error)
        except Exception as error:  # a file must never stop the start
            log.exception("%s failed", name)
            return f"{type(error).__name__}: {error}"
        return ""

    def _values(self) -> dict[str, SettingValue]:
        """Return what the file is to hold: what is not as configured, and what was refused and not set since."""
        now = {name: setting.value for name, setting in self._settings.items()}
        self._refused = {name: kept for name, kept in self._refused.items() if now[name] == kept[1]}
        changed = {name: value for name, value in now.items() if value != self._configured[name]}
        return changed | {name: kept[0] for name, kept in self._refused.items()}

    def _write(self, values: dict[str, SettingValue]) -> "Future[Any]":
        assert self._file is not None
        assert self._thread is not None
        file, text = self._file, to_text(self._prefix, datetime.now().astimezone().isoformat(" ", "seconds"), values)

        def write() -> None:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(file, text, sync=True)

        future = self._thread.do(write)
        self._writing = future, values
        return future

    def _written(self, now_s: float) -> None:
        """Note how the writing in progress has ended."""
        assert self._writing is not None
        (future, values), self._writing = self._writing, None
        error = future.exception()
        if error is None:
            self._saved = values
            if self.status.state == "Failing":
                self.status = replace(self.status, state="Idle", message="")
        else:
            self._failed(f"{self._file} cannot be written: {_reason(error)}; settings are not saved")
            self._due_s = now_s + RETRY_S

    def _failed(self, message: str) -> None:
        if message != self.status.message:
            self._say(message)
        self.status = replace(self.status, state="Failing")

    def _say(self, message: str) -> None:
        log.warning("%s", message)
        self.status = replace(self.status, message=message)

    async def _do(self, action: Callable[[Path], Any]) -> Any:
        """Do something with the file, in its thread. Raises OSError, also when it takes too long."""
        assert self._file is not None
        assert self._thread is not None
        file = self._file
        async with asyncio.timeout(_TIMEOUT_S):
            return await asyncio.wrap_future(self._thread.do(lambda: action(file)))


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"its file system did not answer within {_TIMEOUT_S:g} s"
    return str(getattr(error, "strerror", None) or error)
