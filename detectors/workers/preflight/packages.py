"""Check of the installation: whether it has the extras that a configuration needs."""

from collections.abc import Callable, Iterator

from detectors import extras
from detectors.config import Config, PlacedSection
from detectors.workers.preflight.checks import Finding, Request, error, ok

_LIBRARY_FREE = "none", "zlib"
"""Compressions of files that Python has itself."""


def needed_extras(config: Config, runs: Callable[[PlacedSection], bool] = lambda _: True) -> dict[str, str]:
    """Return the extras that the parts of a configuration need that ``runs`` here, each with the key that needs it."""
    found: dict[str, str] = {}
    if config.hdf5 and runs(config.hdf5) and config.hdf5.compression not in _LIBRARY_FREE:
        found["codecs"] = f'[hdf5] compression = "{config.hdf5.compression}"'
    if config.stream and runs(config.stream) and config.stream.compression != "none":
        found["codecs"] = f'[stream] compression = "{config.stream.compression}"'
    if config.images and runs(config.images) and config.images.enabled:
        for key in ("codec", "preview_codec"):
            if (codec := getattr(config.images, key)) != "none":
                found["codecs"] = f'[images] {key} = "{codec}"'
    if config.web and runs(config.web) and config.web.enabled:
        found["web"] = "[web]"
    return found


def check_packages(request: Request) -> Iterator[Finding]:
    """Check that the extras that are needed here are installed."""
    needed = needed_extras(request.config, request.runs)
    for extra, why in needed.items():
        if absent := extras.missing(extra):
            yield error(f"{why} needs {', '.join(absent)}, not installed", f"pip install 'pebbledaq[{extra}]'")
    if not any(map(extras.missing, needed)):
        yield ok(f"all of {', '.join(('pebbledaq', *needed))} are installed")
