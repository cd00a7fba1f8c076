"""The workers of a configuration, by name and in the order of its file. Pure."""

from typing import Final

from detectors.config import Config, SourceSection, UdpSection
from detectors.parts import part_names

PARTS: Final = "parts"
"""Name of the workers that stream the parts of images, one for each host that has modules."""

STREAM: Final = "stream"
"""Name of the worker that assembles live images."""

HDF5: Final = "hdf5"
"""Name of the workers that write live images to files, one for each detector: see ``image_worker_name``."""

IMAGES: Final = "images"
"""Name of the workers that show live images as PVs, one for each detector."""

WEB: Final = "web"
"""Name of the worker that serves the page in the browser."""

PROCESS: Final = "process"
"""Name of the worker that applies a user's function to live images."""

KEEPER: Final = "keeper"
"""Name of the workers that keep disks within limits, one for each host whose sources write to disk: ``keeper.daq1``."""


def worker_name(source: SourceSection) -> str:
    """Return the name of a source's worker: ``udp.M00``."""
    return f"{'udp' if isinstance(source, UdpSection) else 'pva'}.{source.name}"


def image_worker_name(kind: str, detector: str) -> str:
    """Return the name of a worker of images: ``hdf5``, and ``hdf5.CAM`` where it is one of several detectors."""
    return f"{kind}.{detector}" if detector else kind


def keepers(config: Config) -> dict[str, str]:
    """Return the keepers of the hosts whose sources write to disk: the name of the host by that of the worker."""
    hosts = [host.name for host in config.host if config.disk and config.sources_on(host.name)]
    return {f"{KEEPER}.{host}": host for host in hosts}


def part_workers(config: Config) -> dict[str, str]:
    """Return the workers that stream parts: the name of the host by that of the worker."""
    return {f"{PARTS}.{host}": host for host in part_names(config)}


def workers(config: Config) -> dict[str, SourceSection | None]:
    """Return every worker of a configuration by name, with its source; those of images and of hosts have none."""
    found: dict[str, SourceSection | None] = {worker_name(source): source for source in config.sources}
    found |= dict.fromkeys(part_workers(config))
    if config.stream is not None:
        found[STREAM] = None
    several = len(config.detectors) > 1
    for detector in config.detectors:
        for kind, section in ((HDF5, config.hdf5), (IMAGES, config.images)):
            if section is not None:
                found[image_worker_name(kind, detector if several else "")] = None
    if config.web is not None:
        found[WEB] = None
    if config.process is not None:
        found[PROCESS] = None
    found |= dict.fromkeys(keepers(config))
    return found
