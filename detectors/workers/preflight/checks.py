"""What a check is: a generator of findings on a configuration and this host."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from detectors.config import Config, PlacedSection, SourceSection, UdpSection
from detectors.pools.sizing import BufferPlan, plan_buffers


class Level(Enum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: ``remedy`` is what to type, empty when nothing is to be done."""

    check: str
    """Name of the check, or of what it looked at; empty: that of the check."""
    level: Level
    found: str
    remedy: str = ""


def ok(found: str) -> Finding:
    """Return that all is well."""
    return Finding("", Level.OK, found)


def warning(found: str, remedy: str, check: str = "") -> Finding:
    """Return what may ruin a beam time."""
    return Finding(check, Level.WARNING, found, remedy)


def error(found: str, remedy: str, check: str = "") -> Finding:
    """Return what does."""
    return Finding(check, Level.ERROR, found, remedy)


def judged(good: bool, found: str, remedy: str, *, bad: Level = Level.WARNING, check: str = "") -> Finding:  # noqa: FBT001
    """Return a finding that is ``bad``, with its remedy, unless it is ``good``."""
    return Finding(check, Level.OK, found) if good else Finding(check, bad, found, remedy)


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of this host: a configuration and the frame rate it is meant for."""

    config: Config
    rate_hz: float
    only: SourceSection | None = None
    host: str | None = None
    """Which [[host]] this one is; None: that of the IOC."""

    def runs(self, section: PlacedSection | None) -> bool:
        """Return whether a source or an output runs here."""
        return section is not None and section.host == self.host

    @property
    def sources(self) -> list[SourceSection]:
        """The sources looked at."""
        return [self.only] if self.only else [s for s in self.config.sources_on(self.host) if s.enabled]

    @property
    def disk_folder(self) -> Path | None:
        """The root folder that its sources write to; None when they write none."""
        disk, sources = self.config.disk, self.sources
        return self.config.disk_folder(sources[0]) if disk and disk.enabled and sources else None

    @property
    def modules(self) -> list[UdpSection]:
        """The UDP modules among them."""
        return [s for s in self.sources if isinstance(s, UdpSection)]

    def plans(self) -> dict[str, BufferPlan]:
        """Return the buffers of the sources, by name. Raises SizingError."""
        return {s.name: plan_buffers(self.config, s) for s in self.sources}


Check = Callable[[Request], Iterator[Finding]]
