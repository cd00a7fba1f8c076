"""What a scenario found: comparisons, memory, counters; as tables and as JSON."""

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.soak.memory import TOLERANCE_MIB, Flatness
from detectors.balance import balance
from detectors.stats import flat
from ioc.demo.audit import Line
from ioc.demo.screen import summary


@dataclass(slots=True)
class Result:
    """Filled by the scenario as it goes."""

    scenario: str
    lines: list[Line] = field(default_factory=list)
    memory: list[Flatness] = field(default_factory=list)
    snapshots: dict[str, Any] = field(default_factory=dict)
    """Last snapshot of each worker."""
    notes: list[str] = field(default_factory=list)
    """Figures and events worth telling."""
    problems: list[str] = field(default_factory=list)
    """What is wrong, in words."""
    began: str = field(default_factory=lambda: datetime.now(UTC).isoformat(" ", "seconds"))
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])

    @property
    def ok(self) -> bool:
        """Whether everything agrees."""
        return not self.problems and all(line.agrees for line in self.lines) and all(m.flat for m in self.memory)

    def expect(self, what: str, found: int, expected: int) -> None:
        """Add a comparison."""
        self.lines.append(Line(what, found, expected))

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "scenario": self.scenario,
            "ok": self.ok,
            "command": ["python", "-m", "bench.soak", *sys.argv[1:]],
            "began": self.began,
            "machine": {
                "processors": os.cpu_count(),
                "kernel": platform.release(),
                "python": platform.python_version(),
            },
            "load_average": {"before": self.load_before, "after": os.getloadavg()[0]},
            "comparisons": [
                {"what": x.what, "found": x.found, "expected": x.expected, "agrees": x.agrees} for x in self.lines
            ],
            "memory": [m.as_dict() for m in self.memory],
            "counters": {name: counters(snapshot) for name, snapshot in self.snapshots.items()},
            "balance": {name: balance(snapshot) for name, snapshot in self.snapshots.items()},
            "notes": self.notes,
            "problems": self.problems,
        }

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(self.as_dict(), indent=1) + "\n", encoding="utf-8")

    def show(self, console: Console) -> None:
        """Print it."""
        console.print(_counters_table(self.snapshots))
        if self.memory:
            console.print(_memory_table(self.memory))
        else:
            console.print("memory: not judged (too short a run, or its processes come and go)")
        console.print(summary(self.lines))
        for note in self.notes:
            console.print(note, highlight=False, soft_wrap=True)
        for problem in self.problems:
            console.print(f"[red]{problem}[/]", highlight=False, soft_wrap=True)
        for line in self.lines:
            if not line.agrees:
                console.print(f"[red]{line.what}: found {line.found}, expected {line.expected}[/]", soft_wrap=True)
        load = f"load average {self.load_before:.1f} before, {os.getloadavg()[0]:.1f} after"
        verdict = "[bold green]everything agrees[/]" if self.ok else "[bold red]something does not agree[/]"
        console.print(f"{self.scenario}: {verdict} ({load})", highlight=False)


def counters(snapshot: Any) -> dict[str, Any]:
    """Return a snapshot's numbers by dotted names, without the zeros."""
    return {name: value for name, value in flat(snapshot).items() if isinstance(value, int | float) and value}


_SHOWN = ("packets.", "frames.", "updates.", "pebble.", "transition.", "dma.", "disk.", "zmq.")
_HIDDEN = ("size_bytes", "total_bytes", "granted_bytes", "free_bytes", "enabled", "wait_s")


def _counters_table(snapshots: Mapping[str, Any]) -> Table:
    table = Table(title="Counters at the end, those that are not zero", title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, snapshot in snapshots.items():
        shown = {
            key: value
            for key, value in counters(snapshot).items()
            if key.startswith(_SHOWN) and not key.endswith(_HIDDEN)
        }
        groups: dict[str, list[str]] = {}
        for key, value in shown.items():
            group, _, word = key.partition(".")
            groups.setdefault(group, []).append(f"{word} {value:g}" if isinstance(value, float) else f"{word} {value}")
        rest = balance(snapshot)
        text = [f"{group}: {', '.join(words)}" for group, words in groups.items()]
        text.append(f"balance: {'0' if not any(rest.values()) else rest}")
        table.add_row(name, "\n".join(text), end_section=True)
    return table


def _memory_table(memory: Sequence[Flatness]) -> Table:
    table = Table(title=f"Resident memory after the warm-up, MiB; growth up to {TOLERANCE_MIB:g}", title_justify="left")
    table.add_column("process")
    for column in ("samples", "first quarter", "last quarter", "highest", "growth", ""):
        table.add_column(column, justify="right")
    for m in memory:
        cells = [f"{x:.1f}" for x in (m.first_mib, m.last_mib, m.highest_mib, m.growth_mib)]
        table.add_row(m.process, str(m.samples), *cells, "flat" if m.flat else "[bold red]GROWS[/]")
    return table
