"""``pebbledaq process``: a user's function on recorded images, or on live ones."""

import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import NoReturn

import click
from click.core import ParameterSource

from detectors.errors import ConfigError
from ioc.cli import arguments

_BOTH = "folder", "function", "workers"
"""What is given for recorded and for live images."""


@click.command("process")
@arguments.folder_or_config
@click.argument("function", required=False)
@click.argument("detector", required=False)
@arguments.pulse_range
@arguments.step
@arguments.module
@arguments.output("HDF5 file to make of recorded images.")
@click.option(
    "--gaps", is_flag=True, help="Put every module at its place, with the gaps; left out: one below the other."
)
@arguments.cluster("one for each processor, with the extra dask; for live images as in the configuration")
@arguments.as_json
@click.pass_context
def command(
    ctx: click.Context,
    *,
    folder: Path,
    function: str | None,
    detector: str | None,
    start: int | None,
    stop: int | None,
    step: int,
    module: str | None,
    output: Path | None,
    gaps: bool,
    scheduler: str | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Apply FUNCTION to the images of the detector in FOLDER, and write the combined result to an HDF5 file.

    FUNCTION is module:name or file.py:name. It is called with an image and its head, and returns a number, an array or a dict of them;
    the results are added. When the command is stopped, the same command goes on where it was.

    With CONFIG, a TOML file, FUNCTION is applied to live images until SIGTERM or SIGINT; the results are PVs and a stream. FUNCTION is
    that of its section [process] if it is left out; DETECTOR is needed where there are several. --workers is the only option.
    """
    if folder.suffix == ".toml":
        _refuse(
            ctx,
            {*ctx.params} - {*_BOTH, "detector"},
            f"{folder} is a configuration; it is for the FOLDER of a detector",
        )
        _live(folder, function, detector, workers)
    if function is None or output is None:
        missing = "FUNCTION" if function is None else "--output"
        raise ConfigError(f"{missing}: missing; the images in a FOLDER need both a FUNCTION and an --output")
    _refuse(ctx, {"detector"}, f"{folder} is the FOLDER of one")
    from detectors.cluster import dask_workers
    from detectors.outputs.hdf5.selection import PulseRange
    from detectors.processing.function import load
    from detectors.processing.recorded import process
    from ioc.cli.buffers import open_to_use, recorded_bounds
    from ioc.progress import progress
    from ioc.reports.output import print_json
    from ioc.reports.process import as_dict, text

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


def _live(config: Path, function: str | None, detector: str | None, workers: int | None) -> NoReturn:
    from detectors.config import load_config
    from detectors.workers.process.part import run
    from ioc.cli.logs import start_log

    loaded = load_config(config)
    start_log("process", loaded.log)
    sys.exit(run(loaded, function, workers=workers, detector=detector))


def _refuse(ctx: click.Context, names: Collection[str], why: str) -> None:
    """Raise ConfigError when one of the parameters was given."""
    for param in ctx.command.params:
        if param.name in names and ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE:
            spelt = param.opts[-1] if isinstance(param, click.Option) else param.make_metavar(ctx).strip("[]")
            raise ConfigError(f"{spelt}: found {ctx.params[param.name]}, but {why}")
