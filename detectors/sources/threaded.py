"""One thread around a client."""

import logging
import threading
from typing import Protocol

from detectors.sources.image_source import ImageSink

log = logging.getLogger(__name__)

_JOIN_S = 10.0
"""Longest wait for the thread: its own longest step is one blocking read or decode."""


class Client(Protocol):
    """Something that serves one PV on the caller's thread until it is told to stop."""

    @property
    def name(self) -> str:
        """The client: "p4p", "direct" or "ca"."""
        ...

    def serve(self, sink: ImageSink, stop: threading.Event, wake: threading.Event) -> None:
        """Deliver updates until ``stop`` is set. ``wake`` is set along with ``stop``."""
        ...


class ThreadedSource:
    """An ImageSource: a client on a thread of its own."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        """The client: "p4p", "direct" or "ca"."""
        return self._client.name

    def start(self, sink: ImageSink) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, args=(sink,), name=f"source-{self.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread, and wait for its end."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(_JOIN_S)
            if self._thread.is_alive():
                log.error(
                    "source %s did not stop within %g s: it is stuck in the sink or in a library", self.name, _JOIN_S
                )
            self._thread = None

    def _run(self, sink: ImageSink) -> None:
        try:
            self._client.serve(sink, self._stop, self._wake)
        except Exception:
            # A fault of ours: the thread ends, and the sink must not believe that it is still fed.
            log.exception("source %s failed", self.name)
            sink.disconnected(f"source {self.name} failed; see its log")
