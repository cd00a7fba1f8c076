"""Sources of images, and the sink that they deliver to.

A source owns the connection to one PV, and one thread that serves it. It reports everything to an ``ImageSink`` on that
thread, in the order in which it happened. For each complete update of the PV it calls exactly one of ``update()``,
``dropped()``, ``bad()`` and ``empty()``. Every slot is followed by ``update()`` or ``abandon()``, which counts no update:
the image is then reported in another way, or the connection was lost midway and the image shows as a gap in uniqueId.

The size of a PV's arrays is known only with the first of them, since the type has no dimensions. So the source reads the
first array, calls ``connected()`` with its description, and asks for slots only after that returned. The sink may take
seconds in there to allocate memory; the source keeps just the one array meanwhile.
"""

import logging
import threading
from dataclasses import dataclass
from typing import Final, Protocol

from detectors.wire.ntndarray import ImageHead

log = logging.getLogger(__name__)

_JOIN_S: Final = 10.0
"""Longest wait for a source's thread: its longest step is one blocking read or decode."""


@dataclass(frozen=True, slots=True)
class Description:
    """An array as it lies in a slot: decompressed, C order."""

    payload_bytes: int
    shape: tuple[int, ...]
    """Slowest dimension first; () for a scalar."""
    dtype: str
    """Name of the numpy dtype, native byte order: "uint16"."""
    codec: str
    """On the wire: "" uncompressed, or "blosc", "lz4", "bslz4", "jpeg", "zlib"."""


class ImageSink(Protocol):
    """The receiver of a PV's images; called on the source's one thread, never after ``ImageSource.close()`` returned."""

    def connected(self, description: Description) -> None:
        """Prepare for arrays like this one. Called again when dtype, shape or bytes change; no slot is outstanding then.

        It may raise a PebbleDaqError to refuse: the source then drops that connection's arrays (``dropped()``) until
        the description changes again.
        """
        ...

    def disconnected(self, reason: str) -> None:
        """Note that the PV disconnected, was not found, or is stuck; the source retries by itself."""
        ...

    def slot(self, nbytes: int) -> memoryview | None:
        """Return ``nbytes`` of writable memory for the next array, or None when there is no room now."""
        ...

    def update(self, update: ImageHead) -> None:
        """Take the slot just returned: it is filled."""
        ...

    def abandon(self) -> None:
        """Take back the slot just returned: it will not be filled."""
        ...

    def dropped(self, update: ImageHead) -> None:
        """Count an array for which ``slot()`` returned None; under the policy "hold" it is called again until there is room."""
        ...

    def bad(self, reason: str) -> None:
        """Count an array that cannot be decoded, or is not what was specified."""
        ...

    def empty(self) -> None:
        """Count an update that holds no array."""
        ...


class HandOverError(Exception):
    """A client cannot serve its PV well; the next one takes over."""


class Client(Protocol):
    """Serves one PV on the caller's thread."""

    @property
    def name(self) -> str:
        """The client: "p4p", "direct" or "ca"."""
        ...

    def serve(self, sink: ImageSink, stop: threading.Event, wake: threading.Event) -> None:
        """Deliver updates until ``stop`` is set; ``wake`` is set along with it.

        Raises HandOverError, with no slot outstanding, to leave the PV to the next client.
        """
        ...


class ImageSource:
    """One PV: a client on a thread of its own, and the one that it may hand over to."""

    def __init__(self, client: Client, fallback: Client | None = None) -> None:
        self._client = client
        self._fallback = fallback
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        """The present client: "p4p", "direct" or "ca"."""
        return self._client.name

    def start(self, sink: ImageSink) -> None:
        """Start the thread, without waiting for a connection."""
        self._thread = threading.Thread(target=self._run, args=(sink,), name=f"source-{self.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and wait for its end; the sink is not called any more. Idempotent."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(_JOIN_S)
            if self._thread.is_alive():
                log.error("source %s did not stop in %g s: stuck in the sink or in a library", self.name, _JOIN_S)
            self._thread = None

    def _run(self, sink: ImageSink) -> None:
        try:
            try:
                self._client.serve(sink, self._stop, self._wake)
            except HandOverError as reason:
                if self._fallback is None:
                    raise
                self._client = self._fallback
                log.info("served by %s: %s", self.name, reason)
                self._client.serve(sink, self._stop, self._wake)
        except Exception:
            # A fault of ours ends the thread; the sink must know that no more updates will follow.
            log.exception("source %s failed", self.name)
            sink.disconnected(f"source {self.name} failed; see its log")
