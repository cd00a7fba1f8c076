"""Which client serves a PV: ours for large arrays, p4p for everything else on PVA, caproto for Channel Access."""

from detectors.sources.image_source import ImageSource
from detectors.sources.pva_direct import DirectClient
from detectors.sources.pva_p4p import P4pClient
from detectors.sources.pvspec import PvSpec


def open_source(spec: PvSpec, *, client: str, direct_above: int, when_full: str) -> ImageSource:
    """Return a source for ``spec``, not yet started.

    ``client`` is "p4p", "direct", or "auto": direct for arrays of at least ``direct_above`` bytes. A value that is not an
    array of numbers goes through p4p in any case. ``when_full`` is "drop" or "hold"; p4p cannot hold the server back: it
    loses what its queue cannot take, which shows as gaps in uniqueId.
    """
    if spec.provider == "ca":
        from detectors.sources.ca import CaClient  # caproto is needed for nothing else

        return ImageSource(CaClient(spec, when_full=when_full))
    if client == "p4p":
        return ImageSource(P4pClient(spec, when_full=when_full))
    direct = DirectClient(spec, when_full=when_full, least_bytes=direct_above if client == "auto" else 0)
    return ImageSource(direct, P4pClient(spec, when_full=when_full, tune=False))  # arrays left to p4p are small
