"""The captures of a worker: the commands that begin and end them, the present one, and what all have come to."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from detectors.config import Hdf5Section
from detectors.errors import CommandError, HostError
from detectors.outputs.hdf5.capture import Capture, CaptureRequest, Selector
from detectors.outputs.hdf5.nd_attributes import parse_attributes
from detectors.outputs.hdf5.schema import FileLayout
from detectors.pixels import FrameLayout
from detectors.workers.attribute_values import AttributeValues
from detectors.workers.capture_folder import CaptureFolder
from detectors.workers.capture_order import CaptureOrder
from detectors.workers.capture_totals import CaptureTotals
from detectors.workers.wake import Wake

_UNDO_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class _Beginning:
    """A capture whose file is being made."""

    order: "CaptureOrder"
    file: "Future[Capture]"
    answer: "Future[str]"


class Captures:
    """One capture at a time. For the data thread; files are made on another, and written by each capture's.

    ``on_start(pulse_id)`` is called when one begins that wants images from ``pulse_id`` on; 0: from the next.
    """

    def __init__(
        self, section: Hdf5Section, detector: str, modules: tuple[str, ...], step: int, on_start: Callable[[int], None]
    ) -> None:
        self._section = section
        self._detector = detector
        self._modules = modules
        self._pulse_id_step = step
        self._on_start = on_start
        self.layout: FrameLayout | None = None
        self._beginning: _Beginning | None = None
        self.ordered: CaptureOrder | None = None
        """A capture whose file is made with the first image: the camera's shape is not known yet."""
        self.capture: Capture | None = None
        """The present one, or the last."""
        self.selector: Selector | None = None
        """Which images the present one takes; None when none does."""
        self.values = AttributeValues()
        self.totals = CaptureTotals()
        self.wanted = 0
        self.compression = "none"
        """Of the present one, or of the last."""
        self.message = self.refusal = ""

    @property
    def commands(self) -> Mapping[str, Callable[..., Any]]:
        """Begin and end of captures, and the folder of their files."""
        return {
            "capture": self._begin,
            "finish": self._finish,
            "flush": self._flush,
            "folder": self._set_folder,
            "check_attributes": self._check_attributes,
        }

    def open(self, stack: ExitStack, wake: Wake) -> None:
        """Make the folder. Raises HostError when it is not there and cannot be made."""
        self.folder = CaptureFolder(self._section)
        stack.callback(self.folder.close)
        stack.callback(self.values.close)
        self._wake = wake

    def poll(self) -> None:
        """Go on with what the disk has done meanwhile."""
        if self._beginning and self._beginning.file.done():
            self._begun(self._beginning)
        if self.capture and self.capture.error and self.selector:
            self.end(self.capture.error)

    @property
    def capturing(self) -> bool:
        """Whether a file is open, or will be with the first image."""
        return self.ordered is not None or (self.capture is not None and not self.capture.ended)

    @property
    def file_open(self) -> bool:
        """Whether there is a file that can be followed."""
        return self.capture is not None and self.capture.file_open

    @property
    def path(self) -> str:
        """Path of the present file, or of the last."""
        if self.capture:
            return str(self.capture.path)
        return str(self.ordered.request.path) if self.ordered else ""

    def _begin(  # noqa: PLR0917  a command passes its arguments by name
        self,
        file: str,
        images: int = 0,
        start: int = 0,
        stop: int = 0,
        step: int = 1,
        compression: str = "",
        attributes: Sequence[str] = (),
        metadata: Mapping[str, float] | None = None,
        lazy: bool = False,  # noqa: FBT001, FBT002
    ) -> "Future[str] | str":
        """Begin a capture and return the path of its file, which is there from the start and can be followed (SWMR).

        ``file`` is absolute or relative to the folder; ``{detector}`` and ``{number}`` (of the capture) in it are filled
        in. It ends after so many ``images``, past the pulse_id ``stop``, or by ``finish``. Without ``compression`` that
        of the configuration holds. ``attributes`` are XML lists, see ``nd_attributes``; ``metadata`` are numbers to keep below
        /entry/instrument/detector. With ``lazy`` the shape of the images need not be known yet; the file is then made with the
        first one. Raises CommandError while another one runs or outside the roots, ConfigError for a wrong request,
        HostError when the file cannot be made.
        """
        if self._beginning:
            raise CommandError(f"capture: {self._beginning.order.request.path} is still being made; is its disk stuck?")
        if self.capturing:
            raise CommandError(f"capture: {self.path} is still being written; finish that first")
        try:
            name = file.format(detector=self._detector, number=self.totals.captures + 1)
        except (KeyError, IndexError, ValueError, AttributeError):
            raise CommandError(
                f"capture: found the file name {file!r}, expected at most {{detector}} and {{number}} to fill in"
            ) from None
        order = CaptureOrder(
            CaptureRequest(self.folder.place.folder / name, images, start, stop, step),
            compression or self._section.compression,
            parse_attributes(*attributes),
            metadata or {},
            self._section.allowed,
        )
        layout = self.layout
        if layout is None and not lazy:
            raise CommandError("capture: the camera's shape and type are not known yet; wait for its first image")
        self.values.subscribe(order.attributes)
        if layout is None:
            self.ordered = order
            self._start(order, None)
            return str(order.request.path)
        file_layout = self._file_layout(layout)
        made = self.folder.do(lambda: order.capture(file_layout, lazy=False))
        self._beginning = _Beginning(order, made, Future())
        made.add_done_callback(lambda _: self._wake.ring())
        return self._beginning.answer

    def _begun(self, beginning: _Beginning) -> None:
        """Go on with a capture whose file is made, or could not be."""
        self._beginning = None
        wanted = beginning.answer.set_running_or_notify_cancel()
        try:
            capture = beginning.file.result()
        except Exception as error:  # noqa: BLE001  the caller gets it as the answer
            if isinstance(error, HostError):
                self.refusal = str(error)
            if wanted:
                beginning.answer.set_exception(error)
            return
        if not wanted:
            self.folder.do(partial(_undo, capture))
            return
        self._start(beginning.order, capture)
        beginning.answer.set_result(str(capture.path))

    def _start(self, order: CaptureOrder, capture: Capture | None) -> None:
        """Take images for a capture from now on."""
        self.refusal = self.message = ""
        self.totals.begin(self.capture)
        self.capture = capture
        self.selector = Selector(order.request, self._pulse_id_step)
        self.wanted = order.request.images
        self.compression = order.compression
        self._on_start(order.request.start)

    def follow(self, layout: FrameLayout | None) -> None:
        """Note what frames are now; a capture that waited for that goes on."""
        self.layout, order = layout, self.ordered
        if order is None or layout is None:
            return
        self.ordered = None
        self.capture = order.capture(self._file_layout(layout), lazy=True)

    def _file_layout(self, layout: FrameLayout) -> FileLayout:
        return FileLayout(self._detector, self._modules, layout.shape or (1,), layout.pixel_type)

    def _set_folder(self, folder: str, create: int = 0) -> "Future[str]":
        """Make the files of captures to come in another folder; ``create``, result and errors as in ``writable_folder``."""
        return self.folder.move(folder, create)

    def _check_attributes(self, attributes: Sequence[str]) -> None:
        """Raise ConfigError when lists of attributes are wrong."""
        parse_attributes(*attributes)

    def _flush(self) -> "Future[None] | None":
        """Answer when all images taken so far are in the file, where readers find them; at once without a capture."""
        return self.capture.flush() if self.capture and self.selector else None

    def _finish(self) -> str:
        if self.selector is None:
            raise CommandError("finish: no capture is running")
        path = self.path
        self.end()
        return path

    def end(self, message: str = "") -> None:
        """Take no more images; the file is closed when all that were taken are in it. ``message``: why it failed."""
        self.message = message
        self.selector = self.ordered = None
        if self.capture:
            self.capture.end()

    def state(self) -> tuple[str, str]:
        """Return state and message, as in ``CaptureStatus``."""
        capture = self.capture
        if capture is None:
            return ("Waiting" if self.ordered else "Idle"), ""
        if capture.error or self.message:
            return "Failed", capture.error or self.message
        if self.selector:
            return ("Capturing" if self.selector.taken else "Waiting"), ""
        return ("Idle" if capture.ended else "Finishing"), ""


def _undo(capture: Capture) -> None:
    """Remove the file of a capture that was cancelled before it was made."""
    capture.end()
    capture.finish(time.monotonic() + _UNDO_S)
    capture.path.unlink(missing_ok=True)
