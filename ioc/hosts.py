"""The hosts of a server, as their records show them: who responds there, and what is known of their clocks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from detectors.config import Config, HostSection
from detectors.hosts import host_of
from detectors.stats import flat
from detectors.worker_names import workers
from ioc.roster import Roster

HOST: Final = "host."
"""What stands for a host in bindings begins with it."""

START_S: Final = 10.0
"""For so long after the start of the IOC, workers that do not respond yet are no alarm, s."""

CLOCK_KNOWN_S: Final = 20.0
"""What was measured of a clock holds for so long, s: a few measurements on a bad line may fail."""


@dataclass(frozen=True, slots=True)
class ClockShown:
    """What is known of the clock of a host."""

    offset_ms: float = 0.0
    round_trip_ms: float = 0.0
    state: str = "Unknown"
    error_ms: float = 0.0
    tai_offset_s: int = 0


@dataclass(frozen=True, slots=True)
class HostStatus:
    """The values of a host's records."""

    state: str = "Off"
    message: str = ""
    address: str = ""
    workers: int = 0
    """Workers that are to run there."""
    workers_responding: int = 0
    clock: ClockShown = field(default_factory=ClockShown)


class Host:
    """One host: its workers, and its clock as it was measured last."""

    def __init__(self, section: HostSection, workers: tuple[str, ...]) -> None:
        self.section = section
        self.workers = workers
        self._clock = ClockShown()
        self._measured_s = float("-inf")

    @property
    def owner(self) -> str:
        """Stands for it in bindings."""
        return owner_of(self.section)

    def measured(self, clock: ClockShown, now_s: float) -> None:
        """Note what was measured of its clock."""
        self._clock, self._measured_s = clock, now_s

    def knows_clock(self, now_s: float) -> bool:
        """Return whether what was measured last still holds."""
        return now_s - self._measured_s <= CLOCK_KNOWN_S

    def status(self, roster: Roster, *, starting: bool) -> HostStatus:
        """Return how it is. While the server is ``starting`` its workers may still come."""
        wanted = [worker for worker in self.workers if roster.processes[worker].enabled]
        absent = [worker for worker in wanted if worker not in roster.responding]
        state, message = _state(wanted, absent, self.section, starting=starting)
        return HostStatus(state, message, self.section.at, len(wanted), len(wanted) - len(absent), self._clock)


def _state(wanted: list[str], absent: list[str], host: HostSection, *, starting: bool) -> tuple[str, str]:
    if not wanted:
        return "Off", ""
    if not absent:
        return "Responding", ""
    if starting:
        return "Starting", ""
    names = ", ".join(absent)
    if len(absent) < len(wanted):
        return "Partly", f"no answer from {names}"
    return "Silent", f"no answer from {host.at} ({names}): is the host up?"


class Hosts:
    """All hosts of a configuration."""

    def __init__(self, config: Config, roster: Roster, started_s: float) -> None:
        self._roster = roster
        self._started_s = started_s
        places = {worker: host_of(config, worker) for worker in workers(config)}
        self._hosts = tuple(
            Host(section, tuple(worker for worker, place in places.items() if place is section))
            for section in config.host
        )

    def __iter__(self) -> Iterator[Host]:
        return iter(self._hosts)

    def look(self, now_s: float) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
        """Yield owner, values, and whether they are current, of each host and then of its clock."""
        starting = now_s - self._started_s < START_S
        for host in self._hosts:
            status = host.status(self._roster, starting=starting)
            values = flat(status)
            clock = {name: values.pop(name) for name in [*values] if name.startswith("clock.")}
            yield host.owner, values, True
            yield host.owner, clock, status.workers_responding > 0 and host.knows_clock(now_s)


def owner_of(section: HostSection) -> str:
    """Return what stands for a host in bindings."""
    return HOST + section.name
