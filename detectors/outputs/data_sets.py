"""Where the data of a configuration lies, as other hosts see it: the map of its data sets."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from detectors.buffer.data_map import MappedDetector, MappedModule
from detectors.buffer.registration import DetectorInfo, module_info
from detectors.config import Config, SourceSection, UdpSection
from detectors.errors import BufferReadError, ConfigError
from detectors.worker_names import worker_name


def map_of(config: Config) -> tuple[MappedDetector, ...]:
    """Return the detectors of a configuration, with the folder and the host of each module.

    Raises ConfigError when it writes nothing to disk.
    """
    if config.disk is None:
        raise ConfigError("disk: missing; a map says where data lies on disk")
    roots = {worker_name(source): folder for source in config.sources if (folder := config.disk_folder(source))}
    return tuple(mapped_detector(config, sources, roots) for sources in config.detectors.values())


def mapped_detector(
    config: Config, sources: Sequence[SourceSection], roots: Mapping[str, Path | str]
) -> MappedDetector:
    """Return where the modules of one detector lie; ``roots`` are the root folders that its workers write below, on their hosts."""
    modules = tuple(_module(config, source, Path(roots[worker_name(source)])) for source in sources)
    info = _frames(sources[0], modules[0].folder)
    if info:
        info = replace(info, modules=tuple(sorted(module.name for module in modules)), place=None)
    return MappedDetector(config.detector_of(sources[0]), modules, info)


def _module(config: Config, source: SourceSection, root: Path) -> MappedModule:
    host, configured = config.host_of(source), config.disk_folder(source)
    if host and host.seen_at and configured and root.is_relative_to(configured):
        root = host.seen_at / root.relative_to(configured)
    return MappedModule(
        config.module_of(source),
        root / config.detector_of(source) / config.module_of(source),
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
