"""The writer of live images to HDF5: captures begin and end by command, gathering and writing are threads of their own."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from detectors.assembly.images import ImageAssembler
from detectors.assembly.sync import Matched
from detectors.config import Config, Hdf5Section, StreamSection
from detectors.errors import CommandError, ConfigError, HostError
from detectors.frame import MISSING_MASK_BYTES
from detectors.image_head import ImageHead
from detectors.outputs.hdf5.capture import Capture, CaptureRequest, Selector
from detectors.outputs.hdf5.nd_attributes import parse_attributes
from detectors.outputs.hdf5.schema import FileLayout
from detectors.pixels import FrameLayout
from detectors.pools.buffer_pool import BufferPool
from detectors.runtime import Runtime
from detectors.stats import CaptureStatus, PoolStats
from detectors.workers.account import Account
from detectors.workers.attribute_values import AttributeValues
from detectors.workers.capture_folder import CaptureFolder
from detectors.workers.capture_order import CaptureOrder
from detectors.workers.capture_totals import CaptureTotals
from detectors.workers.gate import Gate
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
class _Beginning:
    """A capture whose file is being made."""

    order: "CaptureOrder"
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
        self._pulse_id_step = config.detector.pulse_id_step
        # The documented files hold the modules one below the other.
        rules = (config.stream or StreamSection()).model_copy(update={"layout": "stack"})
        self._gatherer = Gatherer(config, runtime, rules)
        self._pool: BufferPool | None = None
        self._pool_of: ImageAssembler | None = None
        self._gate = Gate(config.hdf5.on_loss, self._pulse_id_step, clocked=bool(config.udp) and not rules.remote)
        self._beginning: _Beginning | None = None
        self._ordered: CaptureOrder | None = None
        """A capture whose file is made with the first image: the camera's shape is not known yet."""
        self._values = AttributeValues()
        self._nothing = _nothing(config, len(self._gatherer.sources))
        self._capture: Capture | None = None
        self._selector: Selector | None = None
        self._totals = CaptureTotals()
        self._wanted = self._gathered = 0
        self._message = self._refusal = ""
        self._latest = ImageHead(0)

    @property
    def commands(self) -> Mapping[str, Callable[..., Any]]:
        """Begin and end of captures, and the folder of their files."""
        return {
            "capture": self._begin, "finish": self._finish, "flush": self._flush, "folder": self._set_folder,
            **self._gate.commands,
        }  # fmt: skip

    def open(self, stack: ExitStack, wake: Wake, account: Account) -> str:  # noqa: ARG002
        """Find the modules, and take the memory for images as soon as their size is known.

        Raises HostError, also when the configuration's folder is not there and cannot be made.
        """
        self._folder = CaptureFolder(self._section)
        stack.callback(self._folder.close)
        self._wake = wake
        stack.callback(self._values.close)
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
        for pulse_id in self._gate.acquisition.expire(time.monotonic()):
            self._fill(pulse_id)
        if self._capture and self._capture.error and self._selector:
            self._end(self._capture.error)
        return self._gatherer.wait_s

    def snapshot(self) -> CaptureStatus:
        """Return what there is to know."""
        gatherer, capture, place = self._gatherer, self._capture, self._folder.place
        state, message = self._state()
        complaint = self._refusal or (message if state == "Failed" else "")
        return CaptureStatus(
            state=state,
            message=message,
            capturing=self._ordered is not None or (capture is not None and not capture.ended),
            file=str(capture.path if capture else self._ordered.request.path if self._ordered else ""),
            captured=capture.written + capture.filled if capture else 0,
            wanted=self._wanted,
            filled=capture.filled if capture else 0,
            damaged=capture.damaged if capture else 0,
            balance=_in_words(capture) if capture else "",
            attributes_missing=self._values.missing,
            acquisition=self._gate.stats(),
            captures=self._totals.captures,
            folder_exists=place.exists,
            write_error=bool(complaint),
            write_message=complaint,
            pulse_id=self._latest.pulse_id,
            data_ns=self._latest.timestamp_ns,
            shape=" x ".join(map(str, gatherer.assembler.shape)) if gatherer.assembler else "",
            dtype=gatherer.assembler.pixel_type.name if gatherer.assembler else "",
            sync=gatherer.sync_stats(),
            images=gatherer.image_stats(self._gathered),
            output=self._totals.stats(
                capture, gatherer.assembled, place, (state, message), on=self._selector is not None
            ),
            pool=self._pool.stats() if self._pool else PoolStats(),
        )

    def finish(self, deadline_s: float) -> None:
        """Write what has been taken, and close the file."""
        if self._selector:
            self._end("")
        if self._capture:
            self._capture.finish(deadline_s)

    def _begin(  # noqa: PLR0917  a command passes its arguments by name
        self,
        file: str,
        images: int = 0,
        start: int = 0,
        stop: int = 0,
        step: int = 1,
        compression: str = "",
        attributes: str = "",
        metadata: Mapping[str, float] | None = None,
        lazy: bool = False,  # noqa: FBT001, FBT002
    ) -> "Future[str] | str":
        """Begin a capture and return the path of its file, which is there from the start and can be followed (SWMR).

        ``file`` is absolute or relative to the folder; ``{detector}`` and ``{number}`` (of the capture) in it are filled
        in. It ends after so many ``images``, past the pulse_id ``stop``, or by ``finish``. Without ``compression`` that
        of the configuration holds. ``attributes`` is XML, see ``nd_attributes``; ``metadata`` are numbers to keep below
        /entry/instrument/detector. With ``lazy`` the shape of the images need not be known yet; the file is then made with the
        first one. Raises CommandError while another one runs or outside the roots, ConfigError for a wrong request,
        HostError when the file cannot be made.
        """
        if self._beginning:
            raise CommandError(f"capture: {self._beginning.order.request.path} is still being made; is its disk stuck?")
        if self._ordered or (self._capture and not self._capture.ended):
            path = self._ordered.request.path if self._ordered else self._capture.path if self._capture else ""
            raise CommandError(f"capture: {path} is still being written; finish that first")
        try:
            name = file.format(detector=self._gatherer.detector, number=self._totals.captures + 1)
        except (KeyError, IndexError, ValueError, AttributeError):
            raise CommandError(
                f"capture: found the file name {file!r}, expected at most {{detector}} and {{number}} to fill in"
            ) from None
        order = CaptureOrder(
            CaptureRequest(self._folder.place.folder / name, images, start, stop, step),
            compression or self._section.compression,
            parse_attributes(attributes),
            metadata or {},
            self._section.allowed,
        )
        layout = self._gatherer.layout
        if layout is None and not lazy:
            raise CommandError("capture: the camera's shape and type are not known yet; wait for its first image")
        self._values.subscribe(order.attributes)
        if layout is None:
            self._ordered = order
            self._start(order, None)
            return str(order.request.path)
        file_layout = self._file_layout(layout)
        made = self._folder.do(lambda: order.capture(file_layout, lazy=False))
        self._beginning = _Beginning(order, made, Future())
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
            self._folder.do(partial(_undo, capture))
            return
        self._start(beginning.order, capture)
        beginning.answer.set_result(str(capture.path))

    def _start(self, order: CaptureOrder, capture: Capture | None) -> None:
        """Take images for a capture from now on."""
        self._refusal = self._message = ""
        self._totals.begin(self._capture)
        self._capture = capture
        self._selector = Selector(order.request, self._pulse_id_step)
        self._wanted = order.request.images
        if order.request.start and not self._gate.number:
            self._gate.acquisition.expect(order.request.start)

    def _make_ordered(self) -> None:
        """Go on with a capture that waited for the shape of the first image."""
        order, layout = self._ordered, self._gatherer.layout
        if order is None or layout is None:
            return
        self._ordered = None
        self._capture = order.capture(self._file_layout(layout), lazy=True)

    def _file_layout(self, layout: FrameLayout) -> FileLayout:
        return FileLayout(self._gatherer.detector, self._gatherer.modules, layout.shape or (1,), layout.pixel_type)

    def _set_folder(self, folder: str, create: int = 0) -> "Future[None]":
        """Make the files of captures to come in another folder; ``create`` and errors as in ``writable_folder``."""
        return self._folder.move(folder, create)

    def _flush(self) -> "Future[None] | None":
        """Answer when all images taken so far are in the file, where readers find them; at once without a capture."""
        return self._capture.flush() if self._capture and self._selector else None

    def _finish(self) -> str:
        if self._selector is None:
            raise CommandError("finish: no capture is running")
        path = self._capture.path if self._capture else self._ordered.request.path if self._ordered else ""
        self._end("")
        return str(path)

    def _end(self, message: str) -> None:
        self._message = message
        self._selector = self._ordered = None
        if self._capture:
            self._capture.lost = self._gate.acquisition.lost
            self._capture.end()

    def _image(self, matched: Matched) -> None:
        if self._selector and self._pool_of is not self._gatherer.assembler and self._pool_of is not None:
            self._end("the camera came back with another shape or type; the file was closed")
        self._follow_size()
        self._make_ordered()
        pulse_id, acquisition, selector = matched.pulse_id, self._gate.acquisition, self._selector
        for missing in acquisition.missing(pulse_id):
            self._fill(missing)
        if not acquisition.wants(pulse_id):
            self._totals.unwanted += self._gatherer.assemble(matched, None) is not None
        elif selector and selector.take(pulse_id):
            self._take(matched, selector)
        else:
            header = self._gatherer.assemble(matched, None)
            self._gate.settle(pulse_id, header and header.head, time.monotonic())
            self._totals.unwanted += header is not None
        if self._selector and self._selector.past(pulse_id):
            self._end("")

    def _take(self, matched: Matched, selector: Selector) -> None:
        """Put an image together that belongs to the capture, and offer it."""
        assert self._pool
        assert self._capture
        buffer = self._pool.try_acquire()
        header = self._gatherer.assemble(matched, None if buffer is None else buffer.array)
        head = header.head if header and buffer else None
        taken = self._gate.settle(matched.pulse_id, head, time.monotonic())
        if buffer and header and taken:
            self._gathered += 1
            buffer.set_len(header.data_bytes)
            self._capture.offer(header.head, buffer.freeze(), self._values.now())
            self._latest = header.head
            return
        if buffer:
            buffer.release()
        selector.give_back()
        if header and buffer:  # of an earlier run
            self._totals.unwanted += 1
            return
        self._totals.dropped += header is not None
        if taken:
            self._fill(matched.pulse_id)

    def _fill(self, pulse_id: int) -> None:
        """Give a missing image its place in the file."""
        if self._capture and self._selector and self._selector.take(pulse_id):
            self._capture.fill(self._nothing._replace(pulse_id=pulse_id), self._values.now())

    def _follow_size(self) -> None:
        """Take memory for images of the present size."""
        assembler = self._gatherer.assembler
        if assembler is self._pool_of or assembler is None:
            return
        count = min(max(_BUFFER_BYTES // assembler.image_bytes, _LEAST_BUFFERS), _MOST_BUFFERS)
        self._pool = BufferPool(count, assembler.image_bytes, name="capture")
        self._pool_of = assembler

    def _state(self) -> tuple[str, str]:
        capture = self._capture
        if capture is None:
            return ("Waiting" if self._ordered else "Idle"), ""
        if capture.error or self._message:
            return "Failed", capture.error or self._message
        if self._selector:
            return ("Capturing" if self._selector.taken else "Waiting"), ""
        return ("Idle" if capture.ended else "Finishing"), ""


def _nothing(config: Config, modules: int) -> ImageHead:
    """Return the head of an image of which nothing came."""
    packets = config.udp[0].geometry.packets_per_frame if config.udp else 1
    mask = ((1 << packets) - 1).to_bytes(MISSING_MASK_BYTES, "little")
    return ImageHead(0, packets_missing=packets * modules, missing=(mask,) * modules)


def _in_words(capture: Capture) -> str:
    """Return what a file holds, for people."""
    found = capture.summary
    if found["complete"]:
        return f"complete: {found['images']} images"
    return f"not complete: {found['images']} images, {found['damaged']} damaged, {found['filled']} filled, {found['lost']} lost"


def _undo(capture: Capture) -> None:
    """Remove the file of a capture that was cancelled before it was made."""
    capture.end()
    capture.finish(time.monotonic() + _UNDO_S)
    capture.path.unlink(missing_ok=True)
