"""``pebbledaq verify``: exit code 0 when everything agrees, 1 with findings, 2 when it cannot run."""

import sys
from pathlib import Path

import click

from detectors.errors import ConfigError, PebbleDaqError
from ioc.cli import arguments


@click.command("verify")
@arguments.folder
@click.argument("hdf5", type=click.Path(path_type=Path), required=False)
@arguments.pulse_range
@arguments.module
@arguments.cluster("in this one")
@arguments.as_json
def command(
    *,
    folder: Path,
    hdf5: Path | None,
    start: int | None,
    stop: int | None,
    module: str | None,
    scheduler: str | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Check the binary buffer in a detector's FOLDER, and an HDF5 file against it.

    With a buffer that is being written, give a --stop. Exit code 0: everything agrees; 1: there are findings; 2: it could not run.
    """
    from dataclasses import asdict

    from detectors.buffer.checks import Checked
    from detectors.cluster import dask_workers
    from detectors.verify import verify
    from ioc.cli.buffers import bounds, open_buffer
    from ioc.progress import progress
    from ioc.reports import findings
    from ioc.reports.output import print_json

    checked = Checked()
    first, last = bounds(start, stop)
    found: list[findings.Inconsistency] = []
    try:
        reader = open_buffer(folder, module)
        with dask_workers.workers(scheduler, workers) as those, progress("verify", "files") as show:
            for finding in verify(reader, hdf5, start=first, stop=last, checked=checked, progress=show, workers=those):
                found.append(finding)
                if not as_json:
                    print(findings.line(finding))
    except PebbleDaqError as error:
        # 1 means findings here, so whatever keeps it from running ends in 2.
        raise ConfigError(str(error)) from None
    if as_json:
        print_json({**asdict(checked), "list": findings.as_list(found)})
    else:
        print(findings.summary(checked))
    sys.exit(int(bool(found)))
