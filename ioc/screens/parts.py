"""What of a configuration is on its screens: which parts there are, and how the names of their PVs begin."""

from dataclasses import dataclass
from typing import Self

from detectors.config import Config
from detectors.worker_names import keepers
from ioc.plan import plan_source_by_source
from ioc.templates import Detector, detectors, image_streams


@dataclass(frozen=True, slots=True)
class Source:
    """A UDP module or the PvMonitor of a camera."""

    name: str
    is_module: bool
    slots: int
    """Slots of its pebble."""

    @property
    def pvs(self) -> str:
        """How the names of its PVs begin."""
        return f"$(P){self.name}:"

    @property
    def template(self) -> str:
        """The template of its state."""
        return "module.template" if self.is_module else "monitor.template"

    @property
    def screen(self) -> str:
        """The screen of it alone."""
        return "module" if self.is_module else "camera"


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a configuration."""

    name: str
    prefix: str
    sources: tuple[Source, ...]
    detectors: tuple[Detector, ...]
    """Their PVs begin with ``$(P)`` and the detector's part."""
    outputs: tuple[str, ...]
    """Image streams: ``Full``, ``Reduced``, ``Pulse``."""
    hosts: tuple[str, ...]
    """Names of the hosts; none when all is on one."""
    kept_hosts: tuple[str, ...]
    """Those of them whose sources write to disk."""
    has_stream: bool
    has_disk: bool
    has_web: bool
    has_process: bool

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return the parts of a configuration."""
        modules = {source.name for source in config.udp}
        return cls(
            name=config.detector.name,
            prefix=config.detector.prefix,
            sources=tuple(
                Source(name, name in modules, plan.pebble.count) for name, plan in plan_source_by_source(config).items()
            ),
            detectors=tuple(detectors(config)),
            outputs=tuple(name.title() for name in image_streams(config)),
            hosts=tuple(host.name for host in config.host),
            kept_hosts=tuple(keepers(config).values()),
            has_stream=config.stream is not None,
            has_disk=config.disk is not None,
            has_web=config.web is not None,
            has_process=config.process is not None,
        )

    @property
    def with_files(self) -> list[Detector]:
        """The detectors whose images are written to files."""
        return [detector for detector in self.detectors if detector.hdf5]

    @property
    def with_images(self) -> list[Detector]:
        """The detectors whose images are shown as PVs."""
        return [detector for detector in self.detectors if detector.images]
