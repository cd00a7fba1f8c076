"""The records of a configuration as a list."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from ioc.record_text import RecordText


def as_list(found: Sequence[RecordText]) -> list[dict[str, Any]]:
    """Return the records as JSON has them."""
    return [
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


def show_archive(found: Sequence[RecordText]) -> None:
    """Print name, method and shortest time between values of records that are worth archiving."""
    for record in found:
        method, period, _ = record.archive.split(", ")
        print(f"{record.name}\t{method}\t{period}")


def show(found: Sequence[RecordText]) -> None:
    """Print a table; a record a line when it is piped."""
    console = Console(highlight=False)
    if not console.is_terminal:
        for record in found:
            print(f"{record.name}\t{record.kind}\t{record.description}")
        return
    table = Table("PV", "type", "what", box=None, padding=(0, 2, 0, 0))
    for record in found:
        table.add_row(record.name, record.kind, record.description)
    console.print(table)
    console.print(f"{len(found)} records")
