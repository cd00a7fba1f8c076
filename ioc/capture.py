"""Captures of live images to HDF5 by PVs: the settings of the next capture, and whether one is in progress.

The worker writes the files and knows one capture at a time; here are the settings that areaDetector has.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from detectors.buffer.regular import read_regular
from detectors.config import Hdf5Section
from detectors.errors import CommandError
from detectors.workers.file_thread import FileThread
from ioc.bindings import Handler
from ioc.file_names import full_file_name
from ioc.places import absolute, allowed_place
from ioc.roster import Roster
from ioc.run_control import Ask
from ioc.templates import Detector

_AD_COMPRESSIONS: Final = {
    "None": "none",
    "N-bit": "",
    "szip": "",
    "zlib": "zlib",
    "Blosc": "blosc",
    "BSLZ4": "bslz4",
    "LZ4": "lz4",
    "JPEG": "",
}
"""The worker's name of each compression by areaDetector's, in the order of the record's choices; empty: it has none."""

WRITE_MODES: Final = ["Single", "Capture", "Stream"]
"""In the order of the record's choices."""

_FLUSH_S: Final = 30.0
_STARTING_S: Final = 0.05

_TIMEOUT_S: Final = 6.0
"""Longer than the worker waits for its disk (5 s): it answers with the reason."""


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    """The settings of the next capture."""

    file_name: str = "image"
    file_template: str = "%s%s_%4.4d.h5"
    file_number: int = 1
    auto_increment: bool = True
    images: int = 1
    """0: until stopped."""
    start: int = 0
    """First pulse_id; 0: the next image's."""
    stop: int = 0
    """Last pulse_id, included; 0: none."""
    step: int = 1
    compression: str = "None"
    lazy: bool = False
    """Make the file with the first image."""
    write_mode: str = "Stream"
    """Capture or Stream, which are the same here."""
    create_directory: int = 0
    """Folders that a new folder may be made of, as areaDetector counts them."""
    file_path: str = ""
    """Folder of the next file, with a slash at its end."""
    file_path_exists: bool = False
    """It is there, and the last one that was put was not refused."""
    array_counter: int = 0
    """Images that came since it was set."""
    queue_size: int = 0
    """Images that may wait for the disk."""
    queue_use: int = 0
    queue_free: int = 0
    capturing: bool = False
    """Whether a capture is in progress, as the worker's last snapshot has it."""


_LEAST: Final = {"file_number": 0, "images": 0, "start": 0, "stop": 0, "step": 1}


class CaptureControl:
    """The handlers of the capture's records."""

    def __init__(
        self,
        section: Hdf5Section,
        ask: Ask,
        roster: Roster,
        detector: Detector,
        metadata: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """``metadata()`` are numbers to keep in a file."""
        self._ask = ask
        self._roster = roster
        self._worker = detector.hdf5
        self._metadata = metadata
        labels = {name: label for label, name in _AD_COMPRESSIONS.items()}
        # Files of several detectors may lie in one folder.
        self.settings = CaptureSettings(detector.name or "image", compression=labels[section.compression])
        self._roots = section.allowed
        self._elsewhere = section.host is not None
        self._use(str(section.folder))
        self._attributes: dict[str, str] = {}
        self._attributes_xml: dict[str, str] = {}
        """The attributes that each part (cam1, HDF1) asks for: as it was put, and the XML."""
        self._offered = self._counted_from = 0
        self._refused_path = ""
        self._turn = asyncio.Lock()
        self._idle = asyncio.Event()
        self._idle.set()
        self._begun = (0, 0)
        self._beginning = False

    @property
    def capturing(self) -> bool:
        """Whether a file is open."""
        return not self._idle.is_set()

    @property
    def _responding(self) -> bool:
        return self._worker in self._roster.responding

    def handlers(self) -> dict[str, Handler]:
        """Return every handler by the name that bindings use; the word of a setting is a field of CaptureSettings."""
        return {
            "capture": Handler(self._capture, lambda: int(self.capturing)),
            "capture_end": Handler(self._capture_end),
            "capture_folder": Handler(self._set_folder, lambda: self.settings.file_path),
            "capture_setting": Handler(self._set, self._shown),
            "capture_attributes": Handler(self._set_attributes, self._shown_attributes),
            "capture_flush": Handler(self._flush),
            "capture_counter": Handler(self._set_counter, lambda: self.settings.array_counter),
            "capture_queue": Handler(self._keep_queue, lambda: self.settings.queue_size),
        }

    def adopt(self, status: Mapping[str, Any]) -> None:
        """Take over the settings of a worker that ran before this IOC."""
        self._use(status["output"]["folder"])
        if status["captures"]:
            self.settings = replace(self.settings, images=status["wanted"])
        self._set_capturing(status["capturing"])

    async def settle(self) -> None:
        """Bring a worker that has just begun to respond to the settings. Raises CommandError when it refuses."""
        status = await self._ask(self._worker, "status")
        while not status["output"]["folder"]:  # it is still starting
            await asyncio.sleep(_STARTING_S)
            status = await self._ask(self._worker, "status")
        if status["output"]["folder"] != self.folder:
            await self._ask(self._worker, "folder", folder=self.folder)

    def seen(self, values: Mapping[str, Any]) -> None:
        """Note the values that the records show now.

        Only this ends a capture, so that a client that waited for the end reads the records of the end.
        """
        self._offered, queued, count = values["output.offered"], values["output.queued"], values["pool.count"]
        self.settings = replace(
            self.settings,
            file_path_exists=values["folder_exists"] and not self._refused_path,
            array_counter=self._offered - self._counted_from,
            queue_size=count,
            queue_use=queued,
            queue_free=max(0, count - queued),
        )
        pid, captures = self._begun
        # A snapshot may be older than the start of this capture, or newer than its answer.
        old = values["pid"] == pid and values["captures"] < captures
        if values["process.running"] and (old or self._beginning):
            return
        self.settings = replace(self.settings, capturing=values["capturing"])
        self._set_capturing(values["capturing"])

    async def _capture(self, on: Any) -> None:
        async with self._turn:
            if not on and not self.capturing:
                return
            if not self._responding:
                raise CommandError("the HDF5 writer does not run; see HDF1:State_RBV")
            if on:
                await self._begin()
            else:
                await self._ask(self._worker, "finish", timeout_s=_TIMEOUT_S)
                await self._idle.wait()

    async def _begin(self) -> None:
        now = self.settings
        if self._refused_path:
            raise CommandError(f"FilePath: {self._refused_path} was refused; put another one")
        path = full_file_name(now.file_template, self.folder, now.file_name, now.file_number)
        self._beginning = True
        try:
            await self._ask(
                self._worker,
                "capture",
                timeout_s=_TIMEOUT_S,
                file=path.replace("{", "{{").replace("}", "}}"),  # the worker fills in what is in braces
                images=now.images,
                start=now.start,
                stop=now.stop,
                step=now.step,
                compression=_AD_COMPRESSIONS[now.compression],
                lazy=now.lazy,
                attributes=list(self._attributes_xml.values()),
                metadata=self._metadata(),
            )
            status = await self._ask(self._worker, "status")
            self._begun = (status["pid"], status["captures"])
            self._set_capturing(True)
            if now.auto_increment:
                self.settings = replace(self.settings, file_number=now.file_number + 1)
        finally:
            self._beginning = False

    async def _capture_end(self, _: Any) -> None:
        """Return when no file is open, after a start or stop that is in progress."""
        async with self._turn:
            pass
        await self._idle.wait()

    async def _set_folder(self, value: str) -> None:
        # A client that does not see the refusal must not write to the folder before: it sees that its own does not exist.
        self._refused_path = value
        folder = absolute(value, "FilePath") if self._elsewhere else await allowed_place(value, self._roots, "FilePath")
        if self._responding:
            create = self.settings.create_directory
            found = await self._ask(self._worker, "folder", timeout_s=_TIMEOUT_S, folder=folder, create=create)
            folder = found or folder
            self.settings = replace(self.settings, file_path_exists=True)  # the client looks before a snapshot comes
        self._refused_path = ""
        self._use(folder)

    def _use(self, folder: str) -> None:
        self.folder = folder
        """Folder of the next file."""
        self.settings = replace(self.settings, file_path=f"{folder.rstrip('/')}/")

    async def _set_attributes(self, value: str, part: str) -> None:
        xml = value if value.lstrip().startswith("<") or not value else await _read(value)
        if self._responding:
            await self._ask(self._worker, "check_attributes", attributes=[xml])
        self._attributes[part], self._attributes_xml[part] = value, xml

    def _shown_attributes(self, part: str) -> str:
        return self._attributes.get(part, "")

    async def _flush(self) -> None:
        if self.capturing:
            await self._ask(self._worker, "flush", timeout_s=_FLUSH_S)

    async def _set_counter(self, value: Any) -> None:
        self._counted_from = self._offered - int(value)
        self.settings = replace(self.settings, array_counter=int(value))

    async def _keep_queue(self, value: Any) -> None:
        if int(value) != self.settings.queue_size:
            raise CommandError(
                f"found {value}, expected {self.settings.queue_size}: the memory for images says how many may wait"
            )

    async def _set(self, value: Any, name: str) -> None:
        match name:
            case "compression":
                value = list(_AD_COMPRESSIONS)[int(value)]
                if not _AD_COMPRESSIONS[value]:
                    known = ", ".join(label for label, name in _AD_COMPRESSIONS.items() if name)
                    raise CommandError(f"found {value}, expected one of {known}: the others are not supported")
            case "auto_increment" | "lazy":
                value = bool(value)
            case "create_directory":
                value = int(value)
            case "write_mode":
                value = WRITE_MODES[int(value)]
                if value == "Single":
                    raise CommandError("found Single, expected Capture or Stream: images are written as they come")
            case "file_name":
                full_file_name(self.settings.file_template, self.folder, value, self.settings.file_number)
            case "file_template":
                full_file_name(value, self.folder, self.settings.file_name, self.settings.file_number)
            case _:
                value = int(value)
                if value < _LEAST[name]:
                    raise CommandError(f"found {value}, expected at least {_LEAST[name]}")
        self.settings = replace(self.settings, **{name: value})

    def _shown(self, name: str) -> Any:
        value = getattr(self.settings, name)
        choices = {"compression": list(_AD_COMPRESSIONS), "write_mode": WRITE_MODES}
        if name in choices:
            return choices[name].index(value)
        return int(value) if isinstance(value, bool) else value

    def _set_capturing(self, capturing: bool) -> None:  # noqa: FBT001
        if capturing:
            self._idle.clear()
        else:
            self._idle.set()


async def _read(path: str) -> str:
    """Return the text of a file of attributes. Raises CommandError when it cannot be read."""
    thread = FileThread()
    found = thread.do(lambda: _read_now(path))
    thread.close()
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await asyncio.wrap_future(found)
    except TimeoutError:
        raise CommandError(
            f"NDAttributesFile: {path}: its file system did not answer within {_TIMEOUT_S:g} s"
        ) from None


def _read_now(path: str) -> str:
    try:
        return read_regular(Path(path)).decode()
    except (OSError, ValueError) as error:
        raise CommandError(
            f"NDAttributesFile: {path} cannot be read: {error}; give XML, or a file on the IOC's host"
        ) from None
