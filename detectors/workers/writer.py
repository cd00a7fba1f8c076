"""The writer of live images to HDF5: captures begin and end by command, gathering and writing are threads of their own."""

import os
import queue
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final

import numpy as np

from detectors.assembly.images import ImageAssembler
from detectors.assembly.sync import Matched
from detectors.buffer.registration import software_version
from detectors.config import Config, Hdf5Section, StreamSection
from detectors.errors import CommandError, ConfigError, HostError
from detectors.outputs.hdf5.capture import Capture, CaptureRequest, Selector
from detectors.outputs.hdf5.folder import free_bytes, make_folder, writable_folder
from detectors.outputs.hdf5.layout import FileLayout
from detectors.pools.buffer_pool import BufferPool
from detectors.runtime import Runtime
from detectors.stats import CaptureStatus, OutputStats, PoolStats
from detectors.workers.control import Control
from detectors.workers.gather import Gatherer

WORKER: Final = "hdf5"

_TICK_S: Final = 0.05
_BUFFER_BYTES: Final = 256 << 20
"""Memory for images on their way to the disk: a quarter of a second at 1 GB/s."""

_LEAST_BUFFERS: Final = 4
_MOST_BUFFERS: Final = 1024
_COMMAND_TIMEOUT_S: Final = 5.0


def run(config: Config) -> int:
    """Write captures until told to stop. Returns the exit code.

    Raises ConfigError without an [hdf5] section, HostError when the memory is refused.
    """
    runtime = Runtime(config.detector.prefix)
    writer = Writer(config, runtime)
    handlers = {"capture": writer.capture, "finish": writer.finish, "folder": writer.set_folder}
    with Control(runtime, WORKER, writer.snapshot, handlers) as control:
        try:
            writer.open()
            print(f"READY {WORKER}", flush=True)  # noqa: T201  supervisors wait for this line
            while not control.stop.is_set():
                writer.step(_TICK_S)
        finally:
            writer.close()
    return 0


class Writer:
    """Gathers images while a capture wants them. ``step`` is for one thread; ``snapshot`` and commands for any other."""

    def __init__(self, config: Config, runtime: Runtime) -> None:
        if config.hdf5 is None:
            raise ConfigError("hdf5: missing; give an [hdf5] section with a folder")
        self._section: Hdf5Section = config.hdf5
        self._folder = config.hdf5.folder
        self._pulse_id_step = config.detector.pulse_id_step
        self._gatherer = Gatherer(config, runtime, config.stream or StreamSection())
        self._requests: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._pool: BufferPool | None = None
        self._pool_of: ImageAssembler | None = None
        self._capture: Capture | None = None
        self._selector: Selector | None = None
        self._captures = self._wanted = 0
        self._gathered = self._dropped = self._unwanted = 0
        self._before = OutputStats()
        self._message = self._refusal = ""
        self._ready = False
        self._pulse_id = 0

    def open(self) -> None:
        """Find the modules, and take the memory for images as soon as their size is known.

        Raises HostError, also when the configuration's folder is not there and cannot be made.
        """
        make_folder(self._folder)
        self._gatherer.open()
        self._follow_size()
        self._ready = True

    def step(self, timeout_s: float) -> None:
        """Carry out commands, and take in what the modules have sent, waiting up to ``timeout_s`` for the first."""
        while not self._requests.empty():
            action, answer = self._requests.get()
            try:
                answer.set_result(action())
            except Exception as error:  # noqa: BLE001  the asker gets it, whatever it is
                answer.set_exception(error)
        for matched in self._gatherer.step(timeout_s):
            self._image(matched)
        if self._capture and self._capture.error and self._selector:
            self._end(self._capture.error)

    def capture(  # noqa: PLR0917  a command passes its arguments by name
        self, file: str, images: int = 0, start: int = 0, stop: int = 0, step: int = 1, compression: str = ""
    ) -> str:
        """Begin a capture and return the path of its file, which is there from the start and can be followed (SWMR).

        ``file`` is absolute or relative to the folder; ``{detector}`` and ``{number}`` (of the capture) in it are filled
        in. It ends after so many ``images``, past the pulse_id ``stop``, or by ``finish``. Without ``compression`` that
        of the configuration holds. Raises CommandError while another one runs, ConfigError for a wrong request,
        HostError when the file cannot be made.
        """
        return self._ask(lambda: self._begin(file, images, start, stop, step, compression))

    def finish(self) -> str:
        """End the capture after what has been taken, and return the path of its file. Raises CommandError without one."""
        return self._ask(self._finish)

    def set_folder(self, folder: str) -> None:
        """Make the files of captures to come in another folder. Raises CommandError when that cannot be."""
        self._folder = writable_folder(folder)

    def snapshot(self) -> CaptureStatus:
        """Return what there is to know, for screens and tests."""
        gatherer, capture = self._gatherer, self._capture
        state, message = self._state()
        complaint = self._refusal or (message if state == "Failed" else "")
        return CaptureStatus(
            worker=WORKER,
            pid=os.getpid(),
            time_ns=time.time_ns(),
            version=software_version(),
            state=state,
            message=message,
            capturing=capture is not None and not capture.ended,
            file=str(capture.path) if capture else "",
            captured=capture.written + capture.filled if capture else 0,
            wanted=self._wanted,
            filled=capture.filled if capture else 0,
            captures=self._captures,
            folder_exists=self._folder.is_dir(),
            write_error=bool(complaint),
            write_message=complaint,
            pulse_id=self._pulse_id,
            shape=" x ".join(map(str, gatherer.assembler.shape)) if gatherer.assembler else "",
            dtype=gatherer.layout.dtype if gatherer.layout else "",
            sync=gatherer.sync_stats(),
            images=gatherer.image_stats(self._gathered),
            output=self._output_stats(state, message),
            pool=self._pool.stats() if self._pool else PoolStats(),
        )

    def close(self) -> None:
        """Write what has been taken, close the file and let go of the modules."""
        if self._selector:
            self._end("")
        if self._capture:
            self._capture.join()
        self._gatherer.close()

    def _ask(self, action: Callable[[], Any]) -> Any:
        """Run ``action`` between two images, on the thread that gathers them."""
        answer: Future[Any] = Future()
        self._requests.put((action, answer))
        try:
            return answer.result(_COMMAND_TIMEOUT_S)
        except FutureTimeoutError:
            raise CommandError(
                f"the writer did not answer within {_COMMAND_TIMEOUT_S:g} s; is its disk stuck?"
            ) from None

    def _begin(self, file: str, images: int, start: int, stop: int, step: int, compression: str) -> str:  # noqa: PLR0917
        if self._capture and not self._capture.ended:
            raise CommandError(f"capture: {self._capture.path} is still being written; finish that first")
        layout = self._gatherer.layout
        if layout is None:
            raise CommandError("capture: the camera has not told its shape and type yet; wait for its first image")
        number = self._captures + 1
        try:
            name = file.format(detector=self._gatherer.detector, number=number)
        except (KeyError, IndexError, ValueError, AttributeError):
            raise CommandError(
                f"capture: found the file name {file!r}, expected at most {{detector}} and {{number}} to fill in"
            ) from None
        request = CaptureRequest(self._folder / name, images, start, stop, step)
        before = self._settled()
        file_layout = FileLayout(
            self._gatherer.detector,
            self._gatherer.modules,
            layout.shape or (1,),
            np.dtype(layout.dtype).newbyteorder("<"),
        )
        try:
            capture = Capture(request.path, file_layout, compression or self._section.compression)
        except HostError as error:
            self._refusal = str(error)
            raise
        self._refusal = ""
        self._before, self._capture = before, capture
        self._selector = Selector(request, self._pulse_id_step, self._section.missing)
        self._captures, self._wanted, self._message = number, images, ""
        return str(request.path)

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
        self._pulse_id = matched.pulse_id

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
            folder=str(self._folder),
            free_bytes=free_bytes(self._folder),
        )

    def _state(self) -> tuple[str, str]:
        capture = self._capture
        if not self._ready:
            return "Starting", ""
        if capture is None:
            return "Idle", ""
        if capture.error or self._message:
            return "Failed", capture.error or self._message
        if self._selector:
            return ("Capturing" if self._selector.taken else "Waiting"), ""
        return ("Idle" if capture.ended else "Finishing"), ""
