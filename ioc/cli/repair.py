"""``pebbledaq repair``: make a buffer sound again after a crash."""

import sys
from pathlib import Path

import click

from ioc.cli import arguments


@click.command("repair")
@arguments.folder
@arguments.pulse_range
@arguments.module
@click.option("--dry-run", is_flag=True, help="Change nothing, and print what would be done.")
@arguments.as_json
def command(
    *, folder: Path, start: int | None, stop: int | None, module: str | None, dry_run: bool, as_json: bool
) -> None:
    """Mark the torn records in a detector's FOLDER as holes, and rebuild LATEST.

    Exit code 1 when a file could not be repaired.
    """
    from detectors.buffer.repair import repair_buffer
    from ioc.cli.buffers import bounds, open_buffer
    from ioc.progress import progress
    from ioc.reports import findings
    from ioc.reports.output import print_json

    found: list[findings.Inconsistency] = []
    reader = open_buffer(folder, module)
    with progress("repair", "files") as show:
        for finding in repair_buffer(reader, *bounds(start, stop), dry_run=dry_run, progress=show):
            found.append(finding)
            if not as_json:
                print(findings.line(finding))
    left = sum(finding.check == "readable" for finding in found)
    done = len(found) - left
    if as_json:
        print_json({"dry_run": dry_run, "repaired": done, "left_alone": left, "list": findings.as_list(found)})
    else:
        alone = f", {left} files or folders left alone" if left else ""
        print(f"{done} {'to repair' if dry_run else 'repaired'}{alone}")
    sys.exit(int(bool(left)))
