"""``pebbledaq verify``: exit code 0 when everything agrees, 1 with findings, 2 when it cannot run."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import click

from detectors.buffer.checks import Checked, Inconsistency
from detectors.buffer.layout import LAST_PULSE
from detectors.buffer.reader import BufferReader
from detectors.errors import ConfigError, PebbleDaqError
from detectors.verify import verify
from ioc.progress import progress


@click.command("verify")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("hdf5", type=click.Path(path_type=Path), required=False)
@click.option("--start", default=0, show_default=True, help="First pulse to look at.")
@click.option("--stop", default=LAST_PULSE, help="Last pulse to look at; give one on a buffer that is being written.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(folder: Path, hdf5: Path | None, start: int, stop: int, as_json: bool) -> None:
    """Check the binary buffer in a detector's FOLDER, and an HDF5 file against it.

    Exit code 0: everything agrees; 1: there are findings; 2: it could not run.
    """
    checked = Checked()
    try:
        with progress("verify") as show:
            found = verify(BufferReader(folder), hdf5, start=start, stop=stop, checked=checked, progress=show)
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
