"""``pebbledaq verify``: exit code 0 when everything agrees, 1 with findings, 2 when it cannot run."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import click

from detectors.buffer.checks import Checked, Inconsistency
from detectors.errors import ConfigError, PebbleDaqError
from detectors.verify import verify
from ioc.cli import arguments
from ioc.cli.buffers import bounds, open_buffer
from ioc.progress import progress


@click.command("verify")
@arguments.folder
@click.argument("hdf5", type=click.Path(path_type=Path), required=False)
@arguments.pulse_range
@arguments.module
@arguments.as_json
def command(
    *, folder: Path, hdf5: Path | None, start: int | None, stop: int | None, module: str | None, as_json: bool
) -> None:
    """Check the binary buffer in a detector's FOLDER, and an HDF5 file against it.

    Give a --stop on a buffer that is being written. Exit code 0: everything agrees; 1: there are findings; 2: it could not run.
    """
    checked = Checked()
    first, last = bounds(start, stop)
    try:
        with progress("verify") as show:
            reader = open_buffer(folder, module)
            found = verify(reader, hdf5, start=first, stop=last, checked=checked, progress=show)
            findings = list(_shown(found, as_json))
    except PebbleDaqError as error:
        # 1 means findings here, so whatever keeps it from running ends in 2.
        raise ConfigError(str(error)) from None
    if as_json:
        print(json.dumps({**dataclasses.asdict(checked), "list": [dataclasses.asdict(f) for f in findings]}, indent=1))
    else:
        print(_summary(checked))
    sys.exit(bool(findings))


def _shown(findings: Any, as_json: bool) -> Any:
    """Pass findings on, printing each as it is found."""
    for finding in findings:
        if not as_json:
            print(line(finding))
        yield finding


def line(finding: Inconsistency) -> str:
    """Return a finding as one line."""
    where = " ".join(filter(None, (finding.module, "" if finding.pulse is None else f"pulse {finding.pulse}")))
    return f"{finding.check}: {where + ': ' if where else ''}{finding.message}"


def _summary(checked: Checked) -> str:
    text = f"{checked.records} records in {checked.files} files"
    if checked.images:
        text += f", {checked.images} HDF5 images"
    text += f": {checked.findings} findings"
    if checked.incomplete:
        text += f"; {checked.incomplete} frames lack packets, as recorded"
    if checked.unchecked:
        text += f"; {checked.unchecked} records have no CRC"
    return text
