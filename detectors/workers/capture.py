"""The writer of live images to HDF5: captures begin and end by command, gathering and writing are threads of their own."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from detectors.assembly.images import ImageAssembler
from detectors.assembly.sync import Matched
from detectors.config import Config, Hdf5Section, StreamSection
from detectors.errors import CommandError, ConfigError, HostError
from detectors.image_head import ImageHead
from detectors.outputs.hdf5.capture import Capture, CaptureRequest, Selector
from detectors.outputs.hdf5.folder import free_bytes, make_folder, writable_folder
from detectors.outputs.hdf5.schema import FileLayout
from detectors.pools.buffer_pool import BufferPool
from detectors.roots import confined
from detectors.runtime import Runtime
from detectors.stats import CaptureStatus, OutputStats, PoolStats
from detectors.workers.account import Account
from detectors.workers.file_thread import FileThread
from detectors.workers.gather import Gatherer
from detectors.workers.runtime import run_worker
from detectors.workers.wake import Wake

WORKER: Final = "hdf5"

_BUFFER_BYTES: Final = 256 << 20
"""Memory for images on their way to the disk: a quarter of a second at 1 GB/s."""

_UNDO_S: Final = 10.0
_LEAST_BUFFERS: Final = 4
_MOST_BUFFERS: Final = 1024


def run(config: Config) -> int:
    """Write captures until it is to stop. Returns the exit code.

    Raises ConfigError without an [hdf5] section, HostError when the memory or the folder is refused.
    """
    runtime = Runtime(config.detector.prefix)
    return run_worker(CapturePart(config, runtime), runtime, config.run.drain_s)


@dataclass(frozen=True, slots=True)
class _Place:
    """The folder that files are made in, when it was last looked at."""

    folder: Path
    exists: bool = False
    free_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Beginning:
    """A capture whose file is being made."""

    request: CaptureRequest
    file: "Future[Capture]"
    answer: "Future[str]"


class CapturePart:
    """The part of a worker that writes live images to HDF5: gathers them while a capture wants them.

    Files are made and looked at by a thread of their own, and written by each capture's: the data thread touches none.
    """

    name = WORKER
    blocks: Mapping[str, Sequence[str]] = {}
    empty = CaptureStatus()

    def __init__(self, config: Config, runtime: Runtime) -> None:
        if config.hdf5 is None:
            raise ConfigError("hdf5: missing; give an [hdf5] section with a folder")
        self._section: Hdf5Section = config.hdf5
        self._place = _Place(config.hdf5.folder)
        self._pulse_id_step = config.detector.pulse_id_step
        # The documented files hold the modules one below the other.
        rules = (config.stream or StreamSection()).model_copy(update={"layout": "stack"})
        self._gatherer = Gatherer(config, runtime, rules)
        self._pool: BufferPool | None = None
        self._pool_of: ImageAssembler | None = None
        self._beginning: _Beginning | None = None
        self._capture: Capture | None = None
        self._selector: Selector | None = None
        self._captures = self._wanted = 0
        self._gathered = self._dropped = self._unwanted = 0
        self._before = OutputStats()
        self._message = self._refusal = ""
        self._latest = ImageHead(0)

    @property
    def commands(self) -> Mapping[str, Callable[..., Any]]:
        """Begin and end of captures, and the folder of their files."""
        return {"capture": self._begin, "finish": self._finish, "folder": self._set_folder}

    def open(self, stack: ExitStack, wake: Wake, account: Account) -> str:  # noqa: ARG002
        """Find the modules, and take the memory for images as soon as their size is known.

        Raises HostError, also when the configuration's folder is not there and cannot be made.
        """
        make_folder(self._place.folder)
        self._look_at(self._place.folder)
        self._wake = wake
        self._files = FileThread()
        stack.callback(self._files.close)
        self._looked = self._files.do(self._look_again)
        stack.callback(self._gatherer.close)
        self._gatherer.open(wake)
        self._follow_size()
        return ""

    def step(self) -> float:
        """Take in what the modules have sent, and hand what is wanted to the capture."""
        if self._beginning and self._beginning.file.done():
            self._begun(self._beginning)
        for matched in self._gatherer.step():
            self._image(matched)
        if self._capture and self._capture.error and self._selector:
            self._end(self._capture.error)
        return self._gatherer.wait_s

    def snapshot(self) -> CaptureStatus:
        """Return what there is to know."""
        if self._looked.done():
            self._looked = self._files.do(self._look_again)
        gatherer, capture = self._gatherer, self._capture
        state, message = self._state()
        complaint = self._refusal or (message if state == "Failed" else "")
        return CaptureStatus(
            state=state,
            message=message,
            capturing=capture is not None and not capture.ended,
            file=str(capture.path) if capture else "",
            captured=capture.written + capture.filled if capture else 0,
            wanted=self._wanted,
            filled=capture.filled if capture else 0,
            captures=self._captures,
            folder_exists=self._place.exists,
            write_error=bool(complaint),
            write_message=complaint,
            pulse_id=self._latest.pulse_id,
            data_ns=self._latest.timestamp_ns,
            shape=" x ".join(map(str, gatherer.assembler.shape)) if gatherer.assembler else "",
            dtype=gatherer.assembler.pixel_type.name if gatherer.assembler else "",
            sync=gatherer.sync_stats(),
            images=gatherer.image_stats(self._gathered),
            output=self._output_stats(state, message),
            pool=self._pool.stats() if self._pool else PoolStats(),
        )

    def finish(self, deadline_s: float) -> None:
        """Write what has been taken, and close the file."""
        if self._selector:
            self._end("")
        if self._capture:
            self._capture.finish(deadline_s)

    def _begin(  # noqa: PLR0917  a command passes its arguments by name
        self, file: str, images: int = 0, start: int = 0, stop: int = 0, step: int = 1, compression: str = ""
    ) -> "Future[str]":
        """Begin a capture and return the path of its file, which is there from the start and can be followed (SWMR).

        ``file`` is absolute or relative to the folder; ``{detector}`` and ``{number}`` (of the capture) in it are filled
        in. It ends after so many ``images``, past the pulse_id ``stop``, or by ``finish``. Without ``compression`` that
        of the configuration holds. Raises CommandError while another one runs or outside the roots, ConfigError for a wrong request,
        HostError when the file cannot be made.
        """
        if self._beginning:
            raise CommandError(f"capture: {self._beginning.request.path} is still being made; is its disk stuck?")
        if self._capture and not self._capture.ended:
            raise CommandError(f"capture: {self._capture.path} is still being written; finish that first")
        layout = self._gatherer.layout
        if layout is None:
            raise CommandError("capture: the camera's shape and type are not known yet; wait for its first image")
        try:
            name = file.format(detector=self._gatherer.detector, number=self._captures + 1)
        except (KeyError, IndexError, ValueError, AttributeError):
            raise CommandError(
                f"capture: found the file name {file!r}, expected at most {{detector}} and {{number}} to fill in"
            ) from None
        request = CaptureRequest(self._place.folder / name, images, start, stop, step)
        file_layout = FileLayout(
            self._gatherer.detector,
            self._gatherer.modules,
            layout.shape or (1,),
            layout.pixel_type,
        )

        def make() -> Capture:
            path = confined(request.path, self._section.allowed, "capture")
            return Capture(path, file_layout, compression or self._section.compression)

        made = self._files.do(make)
        self._beginning = _Beginning(request, made, Future())
        made.add_done_callback(lambda _: self._wake.ring())
        return self._beginning.answer

    def _begun(self, beginning: _Beginning) -> None:
        """Go on with a capture whose file is made, or could not be."""
        self._beginning = None
        wanted = beginning.answer.set_running_or_notify_cancel()
        try:
            capture = beginning.file.result()
        except Exception as error:  # noqa: BLE001  whatever it is, it is the answer
            if isinstance(error, HostError):
                self._refusal = str(error)
            if wanted:
                beginning.answer.set_exception(error)
            return
        if not wanted:
            self._files.do(partial(_undo, capture))
            return
        self._refusal = self._message = ""
        self._before, self._capture = self._settled(), capture
        self._selector = Selector(beginning.request, self._pulse_id_step, self._section.missing)
        self._captures, self._wanted = self._captures + 1, beginning.request.images
        beginning.answer.set_result(str(capture.path))

    def _set_folder(self, folder: str) -> "Future[None]":
        """Make the files of captures to come in another folder. Raises CommandError when that cannot be."""
        return self._files.do(lambda: self._look_at(writable_folder(folder, self._section.allowed)))

    def _look_at(self, folder: Path) -> None:
        self._place = _Place(folder, folder.is_dir(), free_bytes(folder))

    def _look_again(self) -> None:
        self._look_at(self._place.folder)

    def _finish(self) -> str:
        if self._capture is None or self._selector is None:
            raise CommandError("finish: no capture is running")
        self._end("")
        return str(self._capture.path)

    def _end(self, message: str) -> None:
        assert self._capture
        self._message = message
        self._selector = None
        self._capture.end()

    def _image(self, matched: Matched) -> None:
        if self._selector and self._pool_of is not self._gatherer.assembler and self._pool_of is not None:
            self._end("the camera came back with another shape or type; the file was closed")
        self._follow_size()
        capture, selector = self._capture, self._selector
        if capture is None or selector is None:
            self._unwanted += self._gatherer.assemble(matched, None) is not None
            return
        missing, wanted = selector.take(matched.pulse_id)
        for pulse_id in missing:
            capture.fill(pulse_id)
        if wanted:
            self._take(matched, capture, selector)
        else:
            self._unwanted += self._gatherer.assemble(matched, None) is not None
        if selector.past(matched.pulse_id):
            self._end("")

    def _take(self, matched: Matched, capture: Capture, selector: Selector) -> None:
        assert self._pool
        buffer = self._pool.try_acquire()
        header = self._gatherer.assemble(matched, None if buffer is None else buffer.array)
        if buffer is None or header is None:
            if buffer is not None:
                buffer.release()
            self._dropped += header is not None
            if selector.lost():
                capture.fill(matched.pulse_id)
            return
        self._gathered += 1
        buffer.set_len(header.data_bytes)
        capture.offer(header.head, buffer.freeze())
        self._latest = header.head

    def _follow_size(self) -> None:
        """Take memory for images of the present size."""
        assembler = self._gatherer.assembler
        if assembler is self._pool_of or assembler is None:
            return
        count = min(max(_BUFFER_BYTES // assembler.image_bytes, _LEAST_BUFFERS), _MOST_BUFFERS)
        self._pool = BufferPool(count, assembler.image_bytes, name="capture")
        self._pool_of = assembler

    def _settled(self) -> OutputStats:
        """Return what all captures up to now have come to; the present one must have ended."""
        capture = self._capture
        if capture is None:
            return self._before
        return OutputStats(
            written=self._before.written + capture.written,
            dropped=self._before.dropped + capture.failed,
            bytes=self._before.bytes + capture.bytes,
            errors=self._before.errors + bool(capture.error),
        )

    def _output_stats(self, state: str, message: str) -> OutputStats:
        settled = self._settled()
        dropped = settled.dropped + self._dropped
        offered = self._gatherer.assembled
        return OutputStats(
            name="hdf5",
            enabled=self._selector is not None,
            state=state,
            message=message,
            offered=offered,
            written=settled.written,
            dropped=dropped,
            disabled=self._unwanted,
            queued=offered - settled.written - dropped - self._unwanted,
            bytes=settled.bytes,
            errors=settled.errors,
            folder=str(self._place.folder),
            free_bytes=self._place.free_bytes,
        )

    def _state(self) -> tuple[str, str]:
        capture = self._capture
        if capture is None:
            return "Idle", ""
        if capture.error or self._message:
            return "Failed", capture.error or self._message
        if self._selector:
            return ("Capturing" if self._selector.taken else "Waiting"), ""
        return ("Idle" if capture.ended else "Finishing"), ""


def _undo(capture: Capture) -> None:
    """Remove the file of a capture that was cancelled before it was made."""
    capture.end()
    capture.finish(time.monotonic() + _UNDO_S)
    capture.path.unlink(missing_ok=True)
