"""Where the data of a configuration lies, as other hosts see it: the map of its data sets."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from detectors.buffer.data_map import MappedDetector, MappedModule
from detectors.buffer.registration import DetectorInfo, module_info
from detectors.config import Config, SourceSection, UdpSection
from detectors.errors import BufferReadError, ConfigError


def map_of(config: Config) -> tuple[MappedDetector, ...]:
    """Return the detectors of a configuration, with the folder and the host of each module.

    Raises ConfigError when it writes nothing to disk.
    """
    if config.disk is None:
        raise ConfigError("disk: missing; a map says where data lies on disk")
    return tuple(
        _detector(config, config.detector_of(sources[0]), sources) for sources in config.detectors.values() if sources
    )


def _detector(config: Config, name: str, sources: tuple[SourceSection, ...]) -> MappedDetector:
    modules = tuple(_module(config, source) for source in sources)
    info = _frames(sources[0], modules[0].folder)
    if info:
        info = replace(info, modules=tuple(sorted(module.name for module in modules)), place=None)
    return MappedDetector(name, modules, info)


def _module(config: Config, source: SourceSection) -> MappedModule:
    host, root = config.host_of(source), config.disk_folder(source)
    assert root  # there is a [disk]
    seen_at = (host.seen_at if host else None) or root
    return MappedModule(
        config.module_of(source),
        seen_at / config.detector_of(source) / config.module_of(source),
        host.name if host else "",
        source.placed if isinstance(source, UdpSection) else None,
    )


def _frames(source: SourceSection, folder: Path) -> DetectorInfo | None:
    """Return what the frames of a source are; of a camera what its folder says, None when that cannot be seen."""
    if isinstance(source, UdpSection):
        layout = source.geometry.layout
        return DetectorInfo(layout.dtype, layout.shape, layout.data_bytes, (source.name,))
    with suppress(BufferReadError):
        return module_info(folder)
    return None
