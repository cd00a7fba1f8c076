"""Retroactive files by PV: what lies in the disk buffer to an HDF5 file, made by a process of its own."""

import asyncio
import json
import math
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from detectors.buffer.atomic import write_atomically
from detectors.buffer.data_map import MappedDetector, format_map
from detectors.config import Hdf5Section
from detectors.errors import CommandError
from ioc.bindings import Handler
from ioc.file_names import full_file_name
from ioc.places import allowed_place

MODES: Final = ("View", "Copy")
"""In the order of the record's choices."""

_LONGEST: Final = 1 << 53
"""Pulse ids up to here are exact in a double."""


@dataclass(frozen=True, slots=True)
class RetroStatus:
    """The settings of the next file, and what the last one has come to."""

    start: float = -10.0
    """A pulse_id, or 0 and below: seconds before the command."""
    stop: float = 0.0
    mode: str = MODES[0]
    file_path: str = ""
    """With a slash at its end."""
    file_name: str = "retro"
    state: str = "Idle"
    message: str = ""
    file: str = ""
    images: int = 0


class Retro:
    """The handlers of the records. ``detector()`` says where its modules lie on disk; their map is written to ``map_file``."""

    def __init__(self, section: Hdf5Section, detector: Callable[[], MappedDetector], map_file: Path) -> None:
        self._roots = section.allowed
        self._host = section.host
        self._detector = detector
        self._map_file = map_file
        self._process: asyncio.subprocess.Process | None = None
        self.status = RetroStatus(file_path=f"{section.folder}/")
        self.show: Callable[[], None] = lambda: None
        """Brings the records up to date."""

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by name; the word of a setting is a field of RetroStatus."""
        return {"retro_setting": Handler(self._set, self._shown), "retro_write": Handler(self._write)}

    def close(self) -> None:
        """End a file that is being made; nothing of it is left under its name."""
        if self._process:
            with suppress(ProcessLookupError):
                self._process.kill()

    def _shown(self, name: str) -> Any:
        value = getattr(self.status, name)
        return MODES.index(value) if name == "mode" else value

    async def _set(self, value: Any, name: str) -> None:
        match name:
            case "mode":
                value = MODES[int(value)]
            case "file_path":
                value = f"{(await allowed_place(value, self._roots, 'FilePath')).rstrip('/')}/"
            case "file_name":
                full_file_name("%s%s.h5", self.status.file_path, value, 0)
            case _:
                value = float(value)
                if not math.isfinite(value) or value > _LONGEST:
                    raise CommandError(
                        f"found {value:g}, expected a pulse_id up to {_LONGEST}, or 0 and below: seconds before now"
                    )
        self.status = replace(self.status, **{name: value})

    async def _write(self) -> None:
        if self.status.state == "Writing":
            raise CommandError("a file is being made already; wait for its end")
        self.status = replace(self.status, state="Writing", message="", file="", images=0)
        self.show()
        try:
            path, answer = await self._make()
        except CommandError as error:
            self.status = replace(self.status, state="Failed", message=str(error))
            raise
        else:
            self.status = replace(
                self.status, state="Idle", message=answer["message"], file=path, images=answer["images"]
            )
        finally:
            self._process = None
            self.show()

    async def _make(self) -> tuple[str, dict[str, Any]]:
        """Return the path of the new file and what the process says of it. Raises CommandError with the reason."""
        wanted, now_ns = self.status, time.time_ns()
        if self._host:
            raise CommandError(
                f"HDF5 files are made on {self._host}, and this one would be made on the IOC's host; use pebbledaq write on {self._host}"
            )
        path = full_file_name("%s%s.h5", wanted.file_path, wanted.file_name, 0)
        await allowed_place(path, self._roots, "FilePath")
        # Files of other hosts are looked at in a thread: a network may take its time.
        folder = await asyncio.to_thread(self._folder)
        arguments = (str(folder), repr(wanted.start), repr(wanted.stop), wanted.mode, path, str(now_ns))
        module = "detectors.outputs.hdf5.retro"
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, error_text = await process.communicate()
        if folder == self._map_file:
            folder.unlink(missing_ok=True)
        try:
            answer: dict[str, Any] = json.loads(out)
        except ValueError:
            reason = (
                error_text.decode(errors="replace").strip().rpartition("\n")[2] or f"exit code {process.returncode}"
            )
            raise CommandError(f"{path}: the process that makes it ended: {reason}") from None
        if "error" in answer:
            raise CommandError(answer["error"])
        return path, answer

    def _folder(self) -> Path:
        """Return the folder that all modules lie in, or else the map that says in which each lies. Raises CommandError."""
        detector = self._detector()
        folders = {module.folder.parent for module in detector.modules}
        if len(folders) == 1 and not any(module.host for module in detector.modules):
            return folders.pop()
        try:
            write_atomically(self._map_file, format_map([detector]))
        except OSError as error:
            raise CommandError(f"{self._map_file}: cannot be written: {error.strerror}") from None
        return self._map_file
