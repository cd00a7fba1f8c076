"""One capture of live images to a file: on a thread of its own, so that a slow disk never holds up the gathering."""

import queue
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from detectors.errors import ConfigError
from detectors.image_head import ImageHead
from detectors.outputs.hdf5.live import LiveFile, LiveImage
from detectors.outputs.hdf5.schema import FileLayout
from detectors.pools.buffer_pool import Lease

_LONGEST_FILL: Final = 10_000
"""Missing pulses filled in a row: a longer gap is a source that jumped, not one that lost so many."""


_COUNTING_S: Final = 0.1
"""How long it may take to count what is not written, s."""


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
    """Which pulses of a stream belong to a capture, and which of them are missing. Pure."""

    def __init__(self, request: CaptureRequest, pulse_id_step: int, missing: Literal["skip", "fill"]) -> None:
        self._request = request
        self._every = request.step * pulse_id_step
        self._fill = missing == "fill"
        self._origin: int | None = request.start or None
        self._last: int | None = request.start - self._every if request.start else None
        self.taken = 0
        """Images taken, filled ones included."""

    @property
    def done(self) -> bool:
        """Whether the number of images is reached."""
        return bool(self._request.images) and self.taken >= self._request.images

    def past(self, pulse_id: int) -> bool:
        """Return whether no further pulse can belong to the capture once ``pulse_id`` has come."""
        return self.done or bool(self._request.stop and pulse_id >= self._request.stop)

    def take(self, pulse_id: int) -> tuple[list[int], bool]:
        """Return the pulses missing before ``pulse_id``, and whether it belongs itself."""
        request = self._request
        if self.done or pulse_id < request.start:
            return [], False
        if request.stop and pulse_id > request.stop:
            return self._missing(pulse_id, request.stop + 1), False
        if self._origin is None:
            self._origin = pulse_id
        if self._last is not None and pulse_id <= self._last:
            return [], False
        if (pulse_id - self._origin) % self._every:
            return (self._missing(pulse_id, pulse_id) if pulse_id == request.stop else []), False
        missing = self._missing(pulse_id, pulse_id)
        self._last = pulse_id
        if self.done:
            return missing, False
        self.taken += 1
        return missing, True

    def _missing(self, pulse_id: int, end: int) -> list[int]:
        """Take, and return, the pulses that are missing before ``end``, now that ``pulse_id`` has come."""
        if not self._fill or self._last is None or pulse_id - self._last > _LONGEST_FILL * self._every:
            return []
        missing = list(range(self._last + self._every, end, self._every))
        if self._request.images:
            missing = missing[: self._request.images - self.taken]
        self.taken += len(missing)
        self._last = missing[-1] if missing else self._last
        return missing

    def lost(self) -> bool:
        """Take back the last image, which could not be had; True when it is to be filled in after all."""
        if not self._fill:
            self.taken -= 1
        return self._fill


class Capture:
    """Writes what is offered to a file until ``end``. ``offer``, ``fill`` and ``end`` are for one thread.

    Raises HostError and ConfigError as ``LiveFile`` does.
    """

    def __init__(self, path: Path, layout: FileLayout, compress: str) -> None:
        self._layout = layout
        self._file = LiveFile(path, layout, compress)
        self._queue: queue.SimpleQueue[tuple[LiveImage, Lease | None] | None] = queue.SimpleQueue()
        self.path = path
        self.written = 0
        """Images in the file that came."""
        self.filled = 0
        """Missing images in the file."""
        self.failed = 0
        """Images that could not be written."""
        self.bytes = 0
        self.error = ""
        """Why nothing more can be written; empty while all is well."""
        self._thread = threading.Thread(target=self._run, name="hdf5", daemon=True)
        self._thread.start()

    def fill(self, pulse_id: int) -> None:
        """Append an image that is missing."""
        self._queue.put(((ImageHead(pulse_id), None), None))

    def offer(self, head: ImageHead, lease: Lease) -> None:
        """Append an image; the lease is taken over."""
        pixels = lease.array.view(self._layout.dtype).reshape(self._layout.image_shape)
        self._queue.put(((head, pixels), lease))

    def end(self) -> None:
        """Close the file as soon as what is queued is written."""
        self._queue.put(None)

    @property
    def ended(self) -> bool:
        """Whether the file is closed."""
        return not self._thread.is_alive()

    def finish(self, deadline_s: float) -> None:
        """Wait until it is, after ``end``; images that are not written at the deadline (monotonic, s) are failed ones."""
        self._thread.join(max(0.0, deadline_s - time.monotonic()))
        if not self.ended:
            self.error = self.error or f"{self.path}: the time to write what was queued is over"
            self._thread.join(_COUNTING_S)

    def _run(self) -> None:
        more = True
        while more:
            items = [self._queue.get()]
            # What has come meanwhile goes with it: extending and flushing cost as much for ten images as for one.
            while not self._queue.empty():
                items.append(self._queue.get())
            batch = [item for item in items if item is not None]
            more = len(batch) == len(items)
            self._write([image for image, _ in batch])
            for _, lease in batch:
                if lease is not None:
                    lease.close()
        try:
            self._file.close()
        except OSError as error:
            self.error = self.error or f"{self.path}: cannot be closed: {error}"

    def _write(self, images: list[LiveImage]) -> None:
        if not images:
            return
        came = sum(pixels is not None for _, pixels in images)
        if self.error:
            self.failed += came
            return
        try:
            self._file.append(images)
        except Exception as error:  # noqa: BLE001  whatever it is, the thread must live on to give the memory back
            self.error = f"{self.path}: cannot be written: {error}"
            self.failed += came
            return
        self.written += came
        self.filled += len(images) - came
        self.bytes = self._file.bytes
