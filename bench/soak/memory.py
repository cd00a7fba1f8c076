"""Resident memory of processes over time, and whether it stayed flat."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

MIB: Final = 1 << 20
TOLERANCE_MIB: Final = 4.0
"""What an interpreter may come to need late, MiB; a leak of one image or frame is found, and of 200 bytes a frame in 5 minutes."""
FEWEST_SAMPLES: Final = 8
"""With fewer there is nothing to compare."""
_COURSE: Final = 20


@dataclass(frozen=True, slots=True)
class Flatness:
    """Resident memory of one process after the warm-up: the median of the first quarter and of the last one, MiB."""

    process: str
    samples: int
    first_mib: float
    last_mib: float
    highest_mib: float
    course_mib: tuple[float, ...] = ()
    """Some of the samples, evenly spaced."""

    @property
    def growth_mib(self) -> float:
        """How much more it was in the end."""
        return self.last_mib - self.first_mib

    @property
    def flat(self) -> bool:
        """Whether it did not grow."""
        return self.growth_mib <= TOLERANCE_MIB

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        numbers = {
            name: round(getattr(self, name), 2) for name in ("first_mib", "last_mib", "highest_mib", "growth_mib")
        }
        return {
            "process": self.process,
            "samples": self.samples,
            **numbers,
            "course_mib": self.course_mib,
            "flat": self.flat,
        }


def resident_bytes(pid: int) -> int | None:
    """Return the resident memory of a process, shared pages included; None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    line = next((line for line in text.splitlines() if line.startswith("Rss:")), None)
    return int(line.split()[1]) * 1024 if line else None


@dataclass(slots=True)
class Memory:
    """Samples of named processes, taken at most once a second. One that comes back under another pid begins anew."""

    warm_up_s: float
    _began_s: float = field(default_factory=time.monotonic)
    _next_s: float = 0.0
    _samples: dict[tuple[str, int], list[float]] = field(default_factory=dict)

    def sample(self, pids: Mapping[str, int]) -> None:
        """Look at the processes, unless that was done within the last second or during the warm-up."""
        now_s = time.monotonic()
        if now_s < self._next_s or now_s - self._began_s < self.warm_up_s:
            return
        self._next_s = now_s + 1.0
        for name, pid in pids.items():
            found = resident_bytes(pid) if pid else None
            if found is not None:
                self._samples.setdefault((name, pid), []).append(found / MIB)

    def verdicts(self) -> list[Flatness]:
        """Return the verdict on every life of every process that lasted long enough."""
        return [
            verdict(name, samples) for (name, _), samples in self._samples.items() if len(samples) >= FEWEST_SAMPLES
        ]


def verdict(name: str, samples: list[float]) -> Flatness:
    """Return the verdict on one process; at least four samples, MiB, in order."""
    quarter = len(samples) // 4
    first, last = statistics.median(samples[:quarter]), statistics.median(samples[-quarter:])
    course = tuple(round(x, 2) for x in samples[:: max(1, len(samples) // _COURSE)])
    return Flatness(name, len(samples), first, last, max(samples), course)
