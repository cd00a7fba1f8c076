"""``pebbledaq repair``: make a buffer sound again after a crash."""

import sys
from pathlib import Path

import click

from detectors.buffer.repair import repair_buffer
from ioc.cli import arguments
from ioc.cli.buffers import bounds, open_buffer
from ioc.cli.verify import line
from ioc.progress import progress


@click.command("repair")
@arguments.folder
@arguments.pulse_range
@arguments.module
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
def command(folder: Path, start: int | None, stop: int | None, module: str | None, dry_run: bool) -> None:
    """Mark the torn records in a detector's FOLDER as holes, and rebuild LATEST.

    Exit code 1 when a file could not be repaired.
    """
    reader = open_buffer(folder, module)
    done = 0
    left = 0
    with progress("repair") as show:
        for finding in repair_buffer(reader, *bounds(start, stop), dry_run=dry_run, progress=show):
            left += finding.check == "readable"
            done += finding.check != "readable"
            print(line(finding))
    print(f"{done} {'to repair' if dry_run else 'repaired'}{f', {left} files or folders left alone' if left else ''}")
    sys.exit(bool(left))
