"""Which client serves a PV."""

from detectors.sources.image_source import ImageSource
from detectors.sources.pva_p4p import P4pClient
from detectors.sources.pvspec import PvSpec
from detectors.sources.threaded import ThreadedSource


def open_source(spec: PvSpec, *, client: str, direct_above: int, when_full: str) -> ImageSource:  # noqa: ARG001
    """Return a source for ``spec``, not yet started."""
    return ThreadedSource(P4pClient(spec, when_full=when_full))
