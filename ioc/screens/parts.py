"""What of a configuration is on its screens: which parts there are, and how the names of their PVs begin."""

from dataclasses import dataclass
from typing import Self

from detectors.config import Config
from ioc.plan import plan_source_by_source
from ioc.templates import image_streams, loads


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


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a configuration. Of those that there may be one of for each detector, the names begin as the texts say."""

    detector: str
    prefix: str
    sources: tuple[Source, ...]
    cameras: tuple[str, ...]
    files: tuple[str, ...]
    images: tuple[str, ...]
    streams: tuple[str, ...]
    outputs: tuple[str, ...]
    """Image streams: ``Full``, ``Reduced``, ``Pulse``."""
    has_disk: bool
    has_retro: bool

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return the parts of a configuration."""
        prefix = config.detector.prefix
        found: dict[str, list[str]] = {}
        for load in loads(config):
            pvs = load.macros["P"] + load.macros.get("R", "")
            found.setdefault(load.file, []).append("$(P)" + pvs.removeprefix(prefix))

        def those(template: str) -> tuple[str, ...]:
            return tuple(found.get(f"{template}.template", ()))

        plans = plan_source_by_source(config)
        modules = {source.name for source in config.udp}
        return cls(
            detector=config.detector.name,
            prefix=prefix,
            sources=tuple(Source(name, name in modules, plan.pebble.count) for name, plan in plans.items()),
            cameras=those("cam"),
            files=those("hdf5"),
            images=those("pva1"),
            streams=those("stream"),
            outputs=tuple(name.title() for name in image_streams(config)),
            has_disk=config.disk is not None,
            has_retro=bool(those("retro")),
        )
