"""Which client serves a PV: ours for large arrays, p4p for everything else."""

import logging
import threading

from detectors.sources.image_source import ImageSink, ImageSource
from detectors.sources.pva_direct import DirectClient, HandOverError
from detectors.sources.pva_p4p import P4pClient
from detectors.sources.pvspec import PvSpec
from detectors.sources.threaded import Client, ThreadedSource

log = logging.getLogger(__name__)


class DirectThenP4p:
    """Serves a PV with our own client, until it meets what p4p does better; then p4p serves it to the end."""

    def __init__(self, direct: Client, p4p: Client, pv: str) -> None:
        self._pv = pv
        self._fallback = p4p
        self._active = direct

    @property
    def name(self) -> str:
        """The client at work."""
        return self._active.name

    def serve(self, sink: ImageSink, stop: threading.Event, wake: threading.Event) -> None:
        """Deliver updates until ``stop`` is set."""
        try:
            self._active.serve(sink, stop, wake)
        except HandOverError as reason:
            log.info("%s: served through p4p, %s", self._pv, reason)
            self._active = self._fallback
            self._active.serve(sink, stop, wake)


def open_source(spec: PvSpec, *, client: str, direct_above: int, when_full: str) -> ImageSource:
    """Return a source for ``spec``, not yet started.

    ``client`` is "p4p", "direct", or "auto": direct for arrays of at least ``direct_above`` bytes. What is no array of
    numbers goes through p4p in any case. ``when_full`` is "drop" or "hold"; p4p cannot hold the server back, it loses
    what its queue cannot take, and that shows as gaps in uniqueId.
    """
    if spec.provider == "ca":
        from detectors.sources.ca import CaClient  # caproto is needed for nothing else

        return ThreadedSource(CaClient(spec, when_full=when_full))
    if client == "p4p":
        return ThreadedSource(P4pClient(spec, when_full=when_full))
    p4p = P4pClient(spec, when_full=when_full, tune=False)  # what is left to it is small
    direct = DirectClient(spec, when_full=when_full, least_bytes=direct_above if client == "auto" else 0)
    return ThreadedSource(DirectThenP4p(direct, p4p, spec.pv))
