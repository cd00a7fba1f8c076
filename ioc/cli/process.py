"""``pebbledaq process``: a user's function on recorded images."""

import time
from pathlib import Path

import click

from detectors.errors import ConfigError
from ioc.cli import arguments


@click.command("process")
@arguments.folder
@click.argument("function")
@arguments.pulse_range
@arguments.step
@arguments.module
@arguments.output("HDF5 file to make.", required=True)
@click.option(
    "--gaps", is_flag=True, help="Put every module at its place, with the gaps; left out: one below the other."
)
@arguments.cluster("one for each processor, with the extra dask")
@arguments.as_json
def command(
    *,
    folder: Path,
    function: str,
    start: int | None,
    stop: int | None,
    step: int,
    module: str | None,
    output: Path,
    gaps: bool,
    scheduler: str | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Apply FUNCTION to the images of the detector in FOLDER, and write the combined result to an HDF5 file.

    FUNCTION is module:name or file.py:name. It is called with an image and its head, and returns a number, an array or a dict of them;
    the results are added. When the command is stopped, the same command goes on where it was.
    """
    from detectors.cluster import dask_workers
    from detectors.outputs.hdf5.selection import PulseRange
    from detectors.processing.function import load
    from detectors.processing.recorded import process
    from ioc.cli.buffers import open_to_use, recorded_bounds
    from ioc.progress import progress
    from ioc.reports.output import print_json
    from ioc.reports.process import as_dict, text

    if folder.suffix == ".toml":
        raise ConfigError(f"{folder}: found a configuration, expected the FOLDER of a detector")
    processing = load(function)
    reader = open_to_use(folder, module)
    pulses = PulseRange(*recorded_bounds(reader, start, stop), step)
    if scheduler is None and workers is None:
        workers = dask_workers.useful_here(len(reader.file_numbers(pulses.start, pulses.stop)))
    began = time.monotonic()
    with dask_workers.workers(scheduler, workers) as those, progress(output.name, "chunks") as show:
        done = process(reader, processing, pulses, output, those, gaps=gaps, progress=show)
    took_s = time.monotonic() - began
    if as_json:
        print_json(as_dict(output, done, took_s))
    else:
        print(text(output, done, took_s))
