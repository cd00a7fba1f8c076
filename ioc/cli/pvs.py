"""``pebbledaq pvs``: the records of a configuration, listed without starting anything."""

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from detectors.config import load_config
from ioc.cli import arguments
from ioc.record_text import records
from ioc.templates import loads


@click.command("pvs")
@arguments.config
@arguments.as_json
@click.option(
    "--archive", is_flag=True, help="Only what is worth archiving: name, method, and shortest time between values."
)
def command(config: Path, as_json: bool, archive: bool) -> None:
    """List every record that `run CONFIG` serves, with its type and what it is.

    Piped, it prints a record a line, name first: for grep, cut and save sets.
    """
    found = [record for load in loads(load_config(config)) for record in records(load)]
    if archive:
        found = [record for record in found if record.archive]
    if as_json:
        rows = [
            {
                "name": r.name,
                "type": r.kind,
                "description": r.description,
                "unit": r.unit,
                "alarm": r.alarm,
                "archive": r.archive,
            }
            for r in found
        ]
        print(json.dumps(rows, indent=1))
        return
    if archive:
        for record in found:
            method, period, _ = record.archive.split(", ")
            print(f"{record.name}\t{method}\t{period}")
        return
    console = Console()
    if not console.is_terminal:
        for record in found:
            print(f"{record.name}\t{record.kind}\t{record.description}")
        return
    table = Table("PV", "type", "what", box=None, padding=(0, 2, 0, 0))
    for record in found:
        table.add_row(record.name, record.kind, record.description)
    console.print(table, highlight=False)
    console.print(f"{len(found)} records", highlight=False)
