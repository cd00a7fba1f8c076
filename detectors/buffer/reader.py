"""Reads the binary buffer, also while it is written. ``detectors.api`` has it for scripts."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from detectors.buffer.binfile import BinFile
from detectors.buffer.fields import Field
from detectors.buffer.layout import LAST_PULSE, LATEST, relative_path, sidecar_path
from detectors.buffer.listing import data_files
from detectors.buffer.registration import DetectorInfo, module_info, read_detector
from detectors.buffer.regular import is_missing, read_regular, readable
from detectors.buffer.sidecar import read_entry, read_sidecar
from detectors.errors import BufferReadError, ConfigError, NotInBufferError
from detectors.frame import FILE_MOD, FORMAT_MARKER, Damage, FrameHead
from detectors.image_head import ImageHead, image_head
from detectors.mosaic import Mosaic

MAPPED_PER_MODULE: Final = 2
"""Files of each module kept mapped at a time: space of a deleted file is not free before its map is gone."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One module's record. ``data`` is read-only, in the frame's shape and type: a view of the file, unless its pixels are packed there."""

    module: str
    head: FrameHead
    """Time, damage and missing packets are those of the sidecar; ``expected_packets`` is 0 while it has no entry."""
    data: np.ndarray
    fields: tuple[Field, ...] = ()
    """Arrays that the data is made of, where several PVs are a detector."""

    @property
    def pulse_id(self) -> int:
        """Pulse of the frame."""
        return self.head.pulse_id

    def field(self, name: str) -> np.ndarray:
        """Return the array of one PV in its own shape and type, a view of ``data``; a PV that had no update is zeros.

        Raises BufferReadError, with the names that there are, for one that the frame does not have.
        """
        for found in self.fields:
            if found.name == name:
                return found.of(self.data)
        names = ", ".join(f.name for f in self.fields) or "none: its data is one array"
        raise BufferReadError(f"{self.module}: found no field {name!r}, expected one of: {names}")


@dataclass(frozen=True, slots=True)
class Image:
    """All modules of one pulse.

    ``data`` holds the modules one below the other: ``(n_modules * rows, cols)`` for two-dimensional frames, in general
    joined along the first axis, in the order of ``BufferReader.modules``; or with gaps. Missing modules are zeros. With a single
    module it is a read-only view of the file.
    """

    pulse_id: int
    data: np.ndarray
    frames: tuple[Frame | None, ...]
    """One per module; None for a module that does not hold the pulse."""
    unreadable: tuple[str, ...] = ()
    """Why frames that should be there are None: torn records, files that cannot be read. A pulse that was never written is not named."""

    @property
    def is_complete(self) -> bool:
        """Whether every module holds the pulse (with or without all of its packets)."""
        return all(self.frames)


class BufferReader:
    """Reads the records of one detector; needs no configuration but its folder.

    ``module`` restricts it to one module, else it reads all. Frames are views of the files: they stay valid after ``close``,
    and a deleted file keeps its space on disk for as long as one of its frames is kept; copy what is to be kept for long.
    Raises BufferReadError when the folder is not that of a detector.
    """

    def __init__(self, detector_folder: Path | str, module: str | None = None) -> None:
        self.folder = Path(detector_folder)
        self.info = read_detector(self.folder)
        self.modules = self.info.modules
        if module is not None:
            self.modules = (self._module(module),)
        self._files: OrderedDict[Path, BinFile] | None = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files. Frames read before stay valid. Idempotent."""
        self._files = None

    def read_frame(self, pulse_id: int, module: str | None = None) -> Frame:
        """Return one frame; ``module`` may be left out when there is only one.

        Raises BufferReadError, with the file and the place, for a hole, a torn record or a file of something else.
        """
        module = self._module(module)
        path = self.path(pulse_id, module)
        if is_missing(path):
            raise NotInBufferError(
                f"{module}: pulse {pulse_id} is not in the buffer: found no file {path}; {self._extent_text(module)}"
            )
        file = self._file(path)
        index = pulse_id % FILE_MOD
        if torn := file.torn(index):
            raise BufferReadError(
                f"{path}: torn record of pulse {pulse_id} at byte {file.offset(index)}: {torn}; "
                "`pebbledaq repair` marks it as a hole"
            )
        if not file.holds(index):
            raise NotInBufferError(
                f"{module}: pulse {pulse_id} is not in the buffer: found a hole at byte {file.offset(index)} of {path}; "
                f"{self._extent_text(module)}"
            )
        return self._frame(file, index, module)

    def mosaic(self) -> Mosaic:
        """Return where the modules lie in images with gaps, as the configuration said when they were written.

        Raises BufferReadError when it did not say it.
        """
        infos = [module_info(self.folder / module) for module in self.modules]
        places = [info.place for info in infos if info.place]
        if len(places) < len(infos):
            raise BufferReadError(f"{self.folder}: found no places of the modules; give a Mosaic of your own")
        try:
            return Mosaic(self.info.layout, places)
        except ConfigError as error:
            raise BufferReadError(f"{self.folder}: {error}") from None

    def read_image(self, pulse_id: int, *, allow_missing: bool = False, mosaic: Mosaic | None = None) -> Image:
        """Return all modules of one pulse, one below the other, or with gaps as ``mosaic`` says.

        Raises BufferReadError when none can be read, or, unless ``allow_missing``, when any cannot; of several errors that of
        a torn record.
        """
        frames: list[Frame | None] = []
        missing: list[BufferReadError] = []
        unreadable: list[BufferReadError] = []
        for module in self.modules:
            try:
                frames.append(self.read_frame(pulse_id, module))
            except BufferReadError as error:
                frames.append(None)
                (missing if isinstance(error, NotInBufferError) else unreadable).append(error)
        errors = unreadable + missing
        if errors and (not allow_missing or not any(frames)):
            raise errors[0]
        return Image(pulse_id, _joined(self.info, frames, mosaic), tuple(frames), tuple(map(str, unreadable)))

    def frames(self, start: int, stop: int, step: int = 1, module: str | None = None) -> Iterator[Frame]:
        """Yield the frames of ``start, start + step, ... <= stop`` that the buffer holds, in order.

        Holes are passed over; raises BufferReadError for a torn record or a foreign file.
        """
        module = self._module(module)
        for pulse_id in self.records(start, stop, step, module):
            yield self.read_frame(int(pulse_id), module)

    def images(
        self, start: int, stop: int, step: int = 1, *, allow_missing: bool = False, mosaic: Mosaic | None = None
    ) -> Iterator[Image]:
        """Yield the images of ``start, start + step, ... <= stop`` that every module holds, or with ``allow_missing`` any."""
        held = (self.records(start, stop, step, module) for module in self.modules)
        for pulse_id in reduce(np.union1d if allow_missing else np.intersect1d, held):
            yield self.read_image(int(pulse_id), allow_missing=allow_missing, mosaic=mosaic)

    def pulses(self, start: int, stop: int, step: int = 1, module: str | None = None) -> np.ndarray:
        """Return those of ``start, start + step, ... <= stop`` that a module holds, uint64, by their markers."""
        return self._marked(start, stop, step, module, lambda markers: markers == FORMAT_MARKER)

    def records(self, start: int, stop: int, step: int = 1, module: str | None = None) -> np.ndarray:
        """Return the same with those whose records are torn: to read one of these is an error."""
        return self._marked(start, stop, step, module, lambda markers: markers != 0)

    def metadata(self, pulse_id: int, module: str | None = None) -> np.ndarray:
        """Return the headers of the whole file that ``pulse_id`` lies in: RECORD_HEADER[FILE_MOD], marker 0 in holes.

        Copied from the file in one vectorised pass. Raises BufferReadError when there is no such file.
        """
        return self._file(self.path(pulse_id, self._module(module))).headers()

    def sidecar(self, pulse_id: int, module: str | None = None) -> np.void | None:
        """Return the SIDECAR entry of a pulse; None when there is none (yet: the writer holds entries back for a moment)."""
        return _entry(self.path(pulse_id, self._module(module)), pulse_id % FILE_MOD)

    def sidecars(self, pulse_id: int, module: str | None = None) -> np.ndarray:
        """Return the sidecar of the whole file that ``pulse_id`` lies in: SIDECAR[FILE_MOD], flags 0 where it has no entry."""
        path = sidecar_path(self.path(pulse_id, self._module(module)))
        with readable(path):
            return read_sidecar(path)

    def path(self, pulse_id: int, module: str) -> Path:
        """Return the file of a pulse, whether it exists or not."""
        return self.folder / module / relative_path(pulse_id)

    def file_numbers(self, start: int = 0, stop: int = LAST_PULSE, module: str | None = None) -> list[int]:
        """Return the first pulses of the files that can hold pulses of a range, in order: of one module, or of any.

        A range can be far longer than the buffer. Files of any other name are left out. Raises BufferReadError when a
        folder cannot be read.
        """
        modules = self.modules if module is None else (self._module(module),)
        return sorted({number for name in modules for number in data_files(self.folder / name, start, stop)})

    def files(self, module: str | None = None) -> list[Path]:
        """Return a module's data files, absolute, in order of their pulses; files of any other name are left out."""
        module = self._module(module)
        return [self.path(number, module) for number in self.file_numbers(module=module)]

    def extent(self, module: str | None = None) -> tuple[int, int] | None:
        """Return the first and the last pulse that a module holds; None when it holds none."""
        files = self.files(module)
        first = next(filter(None, map(self._held, files)), None)
        last = next(filter(None, map(self._held, reversed(files))), None)
        return (first[0], last[1]) if first and last else None

    def extents_text(self) -> str:
        """Return which pulses each module holds, for a message."""
        extents = {module: self.extent(module) for module in self.modules}
        return "; ".join(f"{m} holds {e[0]} to {e[1]}" if e else f"{m} holds nothing" for m, e in extents.items())

    def latest(self, module: str | None = None) -> Path | None:
        """Return the last file that a module's writer has finished, absolute; None when it has finished none.

        Raises BufferReadError when that cannot be read.
        """
        folder = self.folder / self._module(module)
        if is_missing(folder / LATEST):
            return None
        with readable(folder / LATEST):
            name = read_regular(folder / LATEST).decode(errors="replace").strip()
        return folder / name if name else None

    def image_head(self, image: Image) -> ImageHead:
        """Return what is known of an image: see ``detectors.image_head``.

        A frame without a sidecar entry should have as many packets as any frame of its file.
        """
        heads = [frame and frame.head for frame in image.frames]
        for m, module in enumerate(self.modules):
            if (head := heads[m]) and not head.expected_packets:
                most = int(self.metadata(image.pulse_id, module)["frame"]["n_recv_packets"].max())
                heads[m] = head._replace(expected_packets=most)
        return image_head(image.pulse_id, heads)

    def is_good(self, image: Image) -> bool:
        """Return whether an image has every module with every packet, all of one trigger, and no damage."""
        return self.image_head(image).is_good_frame

    def _module(self, module: str | None) -> str:
        if module is None and len(self.modules) == 1:
            return self.modules[0]
        if module is not None and module in self.modules:
            return module
        what = "module name" if module is None else f"module {module!r}"
        raise BufferReadError(f"{self.folder}: found no {what}, expected one of {', '.join(self.modules)}")

    def _marked(
        self, start: int, stop: int, step: int, module: str | None, wanted: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Return the pulses of a range at whose places the markers are as wanted."""
        module = self._module(module)
        if start < 0 or stop < start:
            raise BufferReadError(f"range: found {start} to {stop}, expected 0 or more, and a stop not below the start")
        if step < 1:
            raise BufferReadError(f"step: found {step}, expected at least 1")
        found = [np.zeros(0, np.uint64)]
        for number in self.file_numbers(start, stop, module):
            first = max(start, number)
            first += (start - first) % step
            pulses = np.arange(first, min(stop, number + FILE_MOD - 1) + 1, step, dtype=np.uint64)
            markers = self._file(self.path(number, module)).headers()["marker"]
            found.append(pulses[wanted(markers[pulses % FILE_MOD])])
        return np.concatenate(found)

    def _file(self, path: Path) -> BinFile:
        if self._files is None:
            raise BufferReadError(f"{self.folder}: the reader is closed; open another")
        file = self._files.get(path)
        # A file that was empty when it was mapped has been filled since.
        if file is None or not file.is_full_size:
            file = self._files[path] = BinFile(path, self.info.record)
        self._files.move_to_end(path)
        while len(self._files) > MAPPED_PER_MODULE * len(self.modules):
            self._files.popitem(last=False)
        return file

    def _frame(self, file: BinFile, index: int, module: str) -> Frame:
        known: dict[str, Any] = {"expected_packets": 0}
        entry = _entry(file.path, index)
        if entry is not None:
            known = {
                "timestamp_ns": int(entry["timestamp_ns"]),
                "detector_time": int(entry["detector_time"]),
                "damage": Damage(int(entry["damage"])),
                "expected_packets": int(entry["expected_packets"]),
                "missing": entry["missing"].tobytes() if entry["missing"].any() else b"",
            }
        head = FrameHead(*file.header(index)["frame"].item(), **known)
        pixels = self.info.layout.read(file.data(index)[: self.info.layout.data_bytes])
        pixels.flags.writeable = False
        return Frame(module, head, pixels, self.info.fields)

    def _held(self, path: Path) -> tuple[int, int] | None:
        places = np.flatnonzero(self._file(path).headers()["marker"] == FORMAT_MARKER)
        first = int(path.stem)
        return (first + int(places[0]), first + int(places[-1])) if len(places) else None

    def _extent_text(self, module: str) -> str:
        extent = self.extent(module)
        return f"{module} holds pulses {extent[0]} to {extent[1]}" if extent else f"{module} holds no pulse"


def _entry(data_path: Path, index: int) -> np.void | None:
    path = sidecar_path(data_path)
    with readable(path):
        return read_entry(path, index)


def _joined(info: DetectorInfo, frames: list[Frame | None], mosaic: Mosaic | None) -> np.ndarray:
    if mosaic:
        image = np.empty(mosaic.shape, mosaic.pixel_type)
        mosaic.fill_gaps(image)
        for m, frame in enumerate(frames):
            mosaic.put(image, m, frame and frame.data)
        return image
    if len(frames) == 1 and frames[0]:
        return frames[0].data
    shape = info.layout.image_shape(len(frames))
    joined = np.zeros(shape, info.layout.pixel_type)
    for place, frame in zip(np.split(joined, len(frames)), frames, strict=True):
        if frame:
            place.reshape(info.shape)[...] = frame.data
    return joined
