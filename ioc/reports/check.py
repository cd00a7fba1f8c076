"""What ``check`` found, and what it says of the configuration itself."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from detectors.config import Config
from detectors.errors import ConfigError
from detectors.pools.sizing import size_text
from detectors.worker_names import workers
from detectors.workers.preflight import Finding, Level
from ioc.plan import plan_source_by_source
from ioc.templates import loads

_COLOURS: Final = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}


def configuration(config: Config, host: str | None) -> Iterator[Finding]:
    """Yield what a valid configuration makes, and the buffers on ``host``.

    Raises ConfigError when these or the records cannot be made, or there is no host of that name.
    """
    known = [section.name for section in config.host]
    if host is not None and host not in known:
        expected = f"one of {', '.join(known)}" if known else "a [[host]] table of that name in the configuration"
        raise ConfigError(f"--host: found {host!r}, expected {expected}")
    plans = plan_source_by_source(config)
    names = [name for load in loads(config) for name in load.names()]
    sources = ", ".join(source.name for source in config.sources)
    made = f"{config.detector.prefix} {len(workers(config))} workers, {len(names)} records; sources {sources}"
    yield Finding("configuration", Level.OK, made)
    for name in (source.name for source in config.sources if source.host == host):
        plan = plans[name]
        pools = {"pebble": plan.pebble, "transition": plan.transition}
        sizes = [f"{pool} {size.count} x {_size(size.size_bytes)}" for pool, size in pools.items() if size is not None]
        yield Finding("buffers", Level.OK, f"{name}: {', '.join(sizes)}")


def _size(nbytes: int) -> str:
    return size_text(nbytes) if nbytes else "as the PV shows"


def as_list(findings: list[Finding]) -> list[dict[str, Any]]:
    """Return the findings as JSON has them."""
    return [{**dataclasses.asdict(f), "level": f.level.value} for f in findings]


def show(findings: list[Finding]) -> None:
    """Print a line for each finding, and its remedy below."""
    console = Console(highlight=False)
    for f in findings:
        level = Text(f"{f.level.value:<8}", style=_COLOURS[f.level])
        console.print(Text.assemble(level, f"{f.check}: {f.found}"), soft_wrap=True)
        if f.remedy:
            console.print(Text(f"{'':8}{f.remedy}", style="bold"), soft_wrap=True)
