"""Reads the binary buffer, also while it is written. ``detectors.api`` has it for scripts."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from detectors.buffer.binfile import BinFile
from detectors.buffer.data_set import DataSet, open_data_set
from detectors.buffer.image import Frame, Image, joined
from detectors.buffer.layout import LAST_PULSE, LATEST, relative_path, sidecar_path
from detectors.buffer.listing import data_files
from detectors.buffer.registration import DetectorInfo
from detectors.buffer.regular import is_missing, read_regular, reading
from detectors.buffer.sidecar import read_entry, read_sidecar
from detectors.errors import BufferReadError, ConfigError, NotInBufferError
from detectors.frame import FILE_MOD, FORMAT_MARKER, Damage, FrameHead
from detectors.image_head import ImageHead, image_head
from detectors.mosaic import Mosaic

MAPPED_PER_MODULE: Final = 2
"""Files of each module kept mapped at a time: space of a deleted file is not free before its map is gone."""


class BufferReader:
    """Reads the records of one detector; needs no configuration but its folder, or the map of a data set on several hosts.

    ``module`` restricts it to one module, else it reads all. Modules of a host that is missing hold nothing, as modules that have
    written nothing. Frames are views of the files: they stay valid after ``close``, and a deleted file keeps its space on disk
    for as long as one of its frames is kept; copy what is to be kept for long. Raises BufferReadError when the folder is not
    that of a detector, or the map cannot be used.
    """

    def __init__(self, folder: Path | str | DataSet, module: str | None = None) -> None:
        self.data_set = folder if isinstance(folder, DataSet) else open_data_set(Path(folder))
        self.info = self.data_set.info
        self.modules = self.info.modules
        if module is not None:
            self.data_set = self.data_set.only(self._module(module))
            self.modules = (module,)
        self.missing = self.data_set.unseen
        """Modules whose host is missing, each with what cannot be seen."""
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
        if not self.has_file(pulse_id, module):
            found = self.missing.get(module) or f"found no file {path}; {self._extent_text(module)}"
            raise NotInBufferError(f"{module}: pulse {pulse_id} is not in the buffer: {found}")
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
        return _frame(self.info, file, index, module)

    def mosaic(self) -> Mosaic:
        """Return where the modules lie in images with gaps, as the configuration said when they were written.

        Raises BufferReadError when it did not say it.
        """
        places = [place for module in self.modules if (place := self.data_set.place(module))]
        if len(places) < len(self.modules):
            raise BufferReadError(f"{self.data_set.path}: found no places of the modules; give a Mosaic of your own")
        try:
            return Mosaic(self.info.layout, places)
        except ConfigError as error:
            raise BufferReadError(f"{self.data_set.path}: {error}") from None

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
        return Image(pulse_id, joined(self.info, frames, mosaic), tuple(frames), tuple(map(str, unreadable)))

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
        with reading(path):
            return read_sidecar(path)

    def path(self, pulse_id: int, module: str) -> Path:
        """Return the file of a pulse, whether it exists or not."""
        return self.data_set.folder(module) / relative_path(pulse_id)

    def has_file(self, pulse_id: int, module: str) -> bool:
        """Return whether there is a file for a pulse, which may have a hole there."""
        return module not in self.missing and not is_missing(self.path(pulse_id, module))

    def file_numbers(self, start: int = 0, stop: int = LAST_PULSE, module: str | None = None) -> list[int]:
        """Return the first pulses of the files that can hold pulses of a range, in order: of one module, or of any.

        A range can be far longer than the buffer. Files of any other name are left out. Raises BufferReadError when a
        folder cannot be read.
        """
        modules = self.modules if module is None else (self._module(module),)
        folders = (self.data_set.folder(name) for name in modules if name not in self.missing)
        return sorted({number for folder in folders for number in data_files(folder, start, stop)})

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
        texts = (
            f"{m} holds {f'{e[0]} to {e[1]}' if e else 'nothing'}" for m, e in extents.items() if m not in self.missing
        )
        return "; ".join([*texts, *self.data_set.missing_hosts()])

    def latest(self, module: str | None = None) -> Path | None:
        """Return the last file that a module's writer has finished, absolute; None when it has finished none.

        Raises BufferReadError when that cannot be read.
        """
        module = self._module(module)
        folder = self.data_set.folder(module)
        if module in self.missing or is_missing(folder / LATEST):
            return None
        with reading(folder / LATEST):
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
        raise BufferReadError(f"{self.data_set.path}: found no {what}, expected one of {', '.join(self.modules)}")

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
            raise BufferReadError(f"{self.data_set.path}: the reader is closed; open another")
        file = self._files.get(path)
        # A file that was empty when it was mapped has been filled since.
        if file is None or not file.is_full_size:
            file = self._files[path] = BinFile(path, self.info.record)
        self._files.move_to_end(path)
        while len(self._files) > MAPPED_PER_MODULE * len(self.modules):
            self._files.popitem(last=False)
        return file

    def _held(self, path: Path) -> tuple[int, int] | None:
        places = np.flatnonzero(self._file(path).headers()["marker"] == FORMAT_MARKER)
        first = int(path.stem)
        return (first + int(places[0]), first + int(places[-1])) if len(places) else None

    def _extent_text(self, module: str) -> str:
        extent = self.extent(module)
        return f"{module} holds pulses {extent[0]} to {extent[1]}" if extent else f"{module} holds no pulse"


def _frame(info: DetectorInfo, file: BinFile, index: int, module: str) -> Frame:
    """Return what lies in one place of a file, with what its sidecar has of it."""
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
    pixels = info.layout.read(file.data(index)[: info.layout.data_bytes])
    pixels.flags.writeable = False
    return Frame(module, head, pixels, info.fields)


def _entry(data_path: Path, index: int) -> np.void | None:
    path = sidecar_path(data_path)
    with reading(path):
        return read_entry(path, index)
