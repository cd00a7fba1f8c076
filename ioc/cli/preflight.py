"""``pebbledaq preflight``: check the host before data taking."""

import dataclasses
import json
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from detectors.config import load_config
from detectors.workers.preflight import Finding, Level, run_checks

_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}


@click.command("preflight")
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--rate", "rate_hz", default=100.0, show_default=True, help="Frames a second of each source, for the disk."
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(config: Path, rate_hz: float, as_json: bool) -> None:
    """Check the host for what commonly goes wrong, and print remedies.

    Exit code 1 when something found is an error.
    """
    findings = run_checks(load_config(config), rate_hz=rate_hz)
    if as_json:
        print(json.dumps([{**dataclasses.asdict(f), "level": f.level.value} for f in findings], indent=1))
    else:
        _print(findings)
    sys.exit(any(f.level is Level.ERROR for f in findings))


def _print(findings: list[Finding]) -> None:
    table = Table("", "Check", "Found", "What to type", box=None)
    for f in findings:
        table.add_row(f"[{_COLOURS[f.level]}]{f.level.value}[/]", f.check, f.found, f.remedy)
    Console().print(table)
