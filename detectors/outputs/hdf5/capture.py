"""One capture of live images to a file: on a thread of its own, so that a slow disk never holds up the gathering."""

import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from detectors.errors import ConfigError, HostError
from detectors.image_head import ImageHead
from detectors.outputs.hdf5.live import FileImage, LiveFile
from detectors.outputs.hdf5.schema import FileLayout
from detectors.pools.buffer_pool import Lease

_GATHER_S: Final = 0.02
"""Least time between two writes, s: extending and flushing cost as much for ten images as for one."""

_COUNTING_S: Final = 0.1
"""How long it may take to count what is not written, s."""


_MOST_IMAGES: Final = 256
"""Images in one write."""

_NO_PVS: Final[Mapping[str, Any]] = {}

_Item = tuple[FileImage, Lease | None] | Future[None] | None
"""An image, an order to flush, or the end."""


@dataclass(frozen=True, slots=True)
class CaptureRequest:
    """What to capture. Raises ConfigError with every mistake."""

    path: Path
    images: int = 0
    """Images after which the capture ends; 0: none."""
    start: int = 0
    """First pulse_id."""
    stop: int = 0
    """Last pulse_id, included; 0: none."""
    step: int = 1
    """Every N-th pulse_id from the start, or from the first image."""

    def __post_init__(self) -> None:
        found: list[str] = []
        if not self.path.is_absolute():
            found.append(f"file: found {str(self.path)!r}, expected an absolute path")
        found += [
            f"{name}: found {value}, expected at least {least}"
            for name, value, least in (("images", self.images, 0), ("start", self.start, 0), ("step", self.step, 1))
            if value < least
        ]
        if self.stop and self.stop < self.start:
            found.append(f"stop: found {self.stop}, expected {self.start} (the start) or more, or 0 for none")
        if found:
            raise ConfigError(*found)


class Selector:
    """Which pulses of a stream belong to a capture. Pure."""

    def __init__(self, request: CaptureRequest, pulse_id_step: int) -> None:
        self._request = request
        self._every = request.step * pulse_id_step
        self._origin: int | None = request.start or None
        self.taken = 0
        """Images taken, filled ones included."""

    def take(self, pulse_id: int) -> bool:
        """Take an image, here or missing, if it belongs; return whether it does. Pulses come in order."""
        request = self._request
        if self.past(pulse_id - 1) or pulse_id < request.start:
            return False
        if self._origin is None:
            self._origin = pulse_id
        if (pulse_id - self._origin) % self._every:
            return False
        self.taken += 1
        return True

    def give_back(self) -> None:
        """Take the last image back: it could not be had."""
        self.taken -= 1

    def past(self, pulse_id: int) -> bool:
        """Return whether no pulse after this one can belong to the capture."""
        request = self._request
        return bool((request.images and self.taken >= request.images) or (request.stop and pulse_id >= request.stop))


class Capture:
    """Writes what is offered to a file until ``end``. ``offer``, ``fill``, ``flush`` and ``end`` are for one thread.

    ``file`` is that, when it is there already; else ``make_file()`` makes it, in the thread of the capture, when the first image
    comes.
    """

    def __init__(
        self, path: Path, layout: FileLayout, make_file: Callable[[], LiveFile], file: LiveFile | None = None
    ) -> None:
        self._layout = layout
        self._make_file = make_file
        self._file = file
        self._queue: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self.path = path
        self.written = 0
        """Images in the file that came."""
        self.damaged = 0
        """Of these, images that are not good."""
        self.filled = 0
        """Missing images in the file."""
        self.failed = 0
        """Images that could not be written."""
        self.bytes = 0
        self.lost = 0
        """Images that have no place in the file; the caller counts them."""
        self.error = ""
        """Why nothing more can be written; empty while all is well."""
        self._thread = threading.Thread(target=self._run, name="hdf5", daemon=True)
        self._thread.start()

    def fill(self, head: ImageHead, pvs: Mapping[str, Any] = _NO_PVS) -> None:
        """Append an image that is missing."""
        self._queue.put((FileImage(head, None, pvs), None))

    def offer(
        self, head: ImageHead, lease: Lease, pvs: Mapping[str, Any] = _NO_PVS, *, compressed: bool = False
    ) -> None:
        """Append an image, or a chunk of one that is ``compressed`` as the file is; the lease is taken over."""
        pixels = lease.array
        if not compressed:
            pixels = pixels.view(self._layout.dtype).reshape(self._layout.image_shape)
        self._queue.put((FileImage(head, pixels, pvs, compressed), lease))

    def flush(self) -> "Future[None]":
        """Return a Future that is done when all that was offered before is in the file, where readers find it."""
        flushed: Future[None] = Future()
        self._queue.put(flushed)
        if self.ended:
            flushed.set_result(None)
        return flushed

    def end(self) -> None:
        """Close the file as soon as what is queued is written."""
        self._queue.put(None)

    @property
    def ended(self) -> bool:
        """Whether the file is closed."""
        return not self._thread.is_alive()

    @property
    def file_open(self) -> bool:
        """Whether the file is there and can be followed."""
        return self._file is not None and not self.ended

    @property
    def summary(self) -> dict[str, Any]:
        """What the file holds: the attributes of its /entry."""
        return {
            "images": self.written + self.filled,
            "damaged": self.damaged,
            "filled": self.filled,
            "lost": self.lost + self.failed,
            "complete": int(not (self.damaged or self.filled or self.lost or self.failed)),
        }

    @property
    def balance(self) -> str:
        """What the file holds, in words."""
        found = self.summary
        if found["complete"]:
            return f"complete: {found['images']} images"
        fates = ", ".join(f"{found[fate]} {fate}" for fate in ("damaged", "filled", "lost"))
        return f"not complete: {found['images']} images, {fates}"

    def finish(self, deadline_s: float) -> None:
        """Wait until it is, after ``end``; images that are not written at the deadline (monotonic, s) are failed ones."""
        self._thread.join(max(0.0, deadline_s - time.monotonic()))
        if not self.ended:
            self.error = self.error or f"{self.path}: the time to write what was queued is over"
            self._thread.join(_COUNTING_S)

    def _run(self) -> None:
        more, due_s = True, 0.0
        while more:
            items = self._gather(due_s)
            due_s = time.monotonic() + _GATHER_S
            more = items[-1] is not None
            images = [item for item in items if isinstance(item, tuple)]
            self._write([image for image, _ in images])
            for _, lease in images:
                if lease is not None:
                    lease.close()
            for item in items:
                if isinstance(item, Future) and item.set_running_or_notify_cancel():
                    item.set_result(None)
        try:
            if self._file:
                self._file.close(self.summary)
        except OSError as error:
            self.error = self.error or f"{self.path}: cannot be closed: {error}"

    def _gather(self, due_s: float) -> "list[_Item]":
        """Return what is queued, at least one item; images wait for others until ``due_s``, an order ends the wait."""
        items = [self._queue.get()]
        while isinstance(items[-1], tuple) and len(items) < _MOST_IMAGES:
            left_s = due_s - time.monotonic()
            try:
                items.append(self._queue.get(timeout=left_s) if left_s > 0 else self._queue.get_nowait())
            except queue.Empty:
                break
        return items

    def _write(self, images: list[FileImage]) -> None:
        if not images:
            return
        came = [image.head for image in images if image.pixels is not None]
        if self.error:
            self.failed += len(came)
            return
        try:
            self._file = self._file or self._make_file()
            self._file.append(images)
        except Exception as error:  # noqa: BLE001  whatever it is, the thread must live on to give the memory back
            self.error = str(error) if isinstance(error, HostError) else f"{self.path}: cannot be written: {error}"
            self.failed += len(came)
            return
        self.written += len(came)
        self.damaged += sum(not head.is_good_frame for head in came)
        self.filled += len(images) - len(came)
        self.bytes = self._file.bytes
