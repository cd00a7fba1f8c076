"""``pebbledaq check``: a configuration and the host it is for, before data taking."""

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.text import Text

from detectors.config import Config, load_config
from detectors.errors import ConfigError
from detectors.pools.sizing import size_text
from detectors.workers.preflight import Finding, Level, run_checks
from ioc.cli import arguments
from ioc.plan import plan_source_by_source
from ioc.progress import working
from ioc.templates import loads, workers

_COLOURS: Final = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}


@click.command("check")
@arguments.config
@arguments.rate("Frames a second of each source, for the disk.")
@arguments.as_json
def command(config: Path, rate_hz: float, as_json: bool) -> None:
    """Check CONFIG, its buffers and records, and the host for what commonly goes wrong; print remedies.

    Each line is ok, warning or error. Exit code 1 when one is an error, 2 when the configuration itself is wrong.
    """
    try:
        loaded = load_config(config)
        findings = list(_configuration(loaded))
    except ConfigError as error:
        if not as_json:
            raise
        _print_json([Finding("configuration", Level.ERROR, problem) for problem in error.problems])
        sys.exit(error.exit_code)
    with working("check: writing 256 MiB to measure the disk"):
        findings += run_checks(loaded, rate_hz=rate_hz)
    if as_json:
        _print_json(findings)
    else:
        _print(findings)
    sys.exit(any(f.level is Level.ERROR for f in findings))


def _configuration(config: Config) -> Iterator[Finding]:
    """Yield what a valid configuration makes. Raises ConfigError when its buffers or records cannot be made."""
    plans = plan_source_by_source(config)
    names = [name for load in loads(config) for name in load.names()]
    sources = ", ".join(source.name for source in (*config.udp, *config.pva))
    made = f"{config.detector.prefix} {len(workers(config))} workers, {len(names)} records; sources {sources}"
    yield Finding("configuration", Level.OK, made)
    for name, plan in plans.items():
        pools = {"pebble": plan.pebble, "transition": plan.transition}
        sizes = [f"{pool} {size.count} x {_size(size.size_bytes)}" for pool, size in pools.items() if size is not None]
        yield Finding("buffers", Level.OK, f"{name}: {', '.join(sizes)}")


def _size(nbytes: int) -> str:
    return size_text(nbytes) if nbytes else "as the PV shows"


def _print_json(findings: list[Finding]) -> None:
    print(json.dumps([{**dataclasses.asdict(f), "level": f.level.value} for f in findings], indent=1))


def _print(findings: list[Finding]) -> None:
    console = Console(highlight=False)
    for f in findings:
        level = Text(f"{f.level.value:<8}", style=_COLOURS[f.level])
        console.print(Text.assemble(level, f"{f.check}: {f.found}"), soft_wrap=True)
        if f.remedy:
            console.print(Text(f"{'':8}{f.remedy}", style="bold"), soft_wrap=True)
