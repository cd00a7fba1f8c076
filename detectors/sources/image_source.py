"""A source of images: one PV, and the client that serves it.

Our client serves large arrays, p4p everything else on PVA, caproto Channel Access.
"""

import logging
import threading
from typing import Final, Protocol

from detectors.sources.delivery import Delivery, HandOverError
from detectors.sources.image_sink import ImageSink
from detectors.sources.pva_direct import DirectClient
from detectors.sources.pva_p4p import P4pClient
from detectors.sources.pvspec import PvSpec

log = logging.getLogger(__name__)

_JOIN_S: Final = 10.0
"""Longest wait for a source's thread: its longest step is one blocking read or decode."""


class Client(Protocol):
    """Serves one PV on the caller's thread."""

    name: str
    """"p4p", "direct" or "ca"."""

    def serve(self, delivery: Delivery) -> None:
        """Deliver updates until ``delivery.stop`` is set; ``delivery.wake`` is set along with it.

        Raises HandOverError, with no slot outstanding, to leave the PV to another client.
        """
        ...


class ImageSource:
    """One PV: a client on a thread of its own, and the one that it may hand over to."""

    def __init__(self, spec: PvSpec, when_full: str, client: Client, fallback: Client | None = None) -> None:
        self._spec = spec
        self._when_full = when_full
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
                self._client.serve(self._delivery(sink))
            except HandOverError as reason:
                if self._fallback is None:
                    raise
                self._client = self._fallback
                log.info("served by %s: %s", self.name, reason)
                self._client.serve(self._delivery(sink))
        except Exception:
            # A fault of ours ends the thread; the sink must know that no more updates will follow.
            log.exception("source %s failed", self.name)
            sink.disconnected(f"source {self.name} failed; see its log")

    def _delivery(self, sink: ImageSink) -> Delivery:
        return Delivery(sink, self._spec, self._when_full, self._stop, self._wake)


def open_source(spec: PvSpec, *, client: str, direct_above: int, when_full: str) -> ImageSource:
    """Return a source for ``spec``, not yet started.

    ``client`` is "p4p", "direct", or "auto": direct for arrays of at least ``direct_above`` bytes. A value that is not an
    array of numbers goes through p4p in any case. ``when_full`` is "drop" or "hold"; p4p cannot hold the server back: it
    loses what its queue cannot take, which shows as gaps in uniqueId.
    """
    if spec.provider == "ca":
        from detectors.sources.ca import CaClient  # caproto is needed for nothing else

        return ImageSource(spec, when_full, CaClient())
    if client == "p4p":
        return ImageSource(spec, when_full, P4pClient())
    direct = DirectClient(least_bytes=direct_above if client == "auto" else 0)
    return ImageSource(spec, when_full, direct, P4pClient(tune=False))  # arrays left to p4p are small
