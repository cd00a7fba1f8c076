"""What a check is: a generator of findings, registered by ``@check``. The cheap ones also run when a worker starts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from detectors.config import Config, PlacedSection, SourceSection, UdpSection
from detectors.errors import PebbleDaqError
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
    level: Level
    found: str
    remedy: str = ""


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
_CHECKS: Final[dict[str, tuple[Check, bool]]] = {}


def check(name: str, *, cheap: bool) -> Callable[[Check], Check]:
    """Register a check; cheap ones take milliseconds and leave nothing behind."""

    def register(function: Check) -> Check:
        _CHECKS[name] = (function, cheap)
        return function

    return register


def run_checks(
    config: Config,
    *,
    rate_hz: float = 100.0,
    cheap: bool = False,
    only: SourceSection | None = None,
    host: str | None = None,
) -> list[Finding]:
    """Return the findings of all checks, or of the cheap ones: of what runs on ``host``, or of one source ``only``."""
    request = Request(config, rate_hz, only, only.host if only else host)
    findings: list[Finding] = []
    for name, (function, is_cheap) in _CHECKS.items():
        if cheap and not is_cheap:
            continue
        try:
            findings += function(request)
        except (OSError, PebbleDaqError) as error:
            findings.append(Finding(name, Level.ERROR, f"cannot be checked: {error}"))
    return findings
