"""``pebbledaq write``: a pulse range of the binary buffer to HDF5."""

import time
from pathlib import Path
from typing import Literal

import click

from detectors.errors import ConfigError
from ioc.cli import arguments


@click.command("write")
@arguments.folder
@arguments.pulse_range
@arguments.step
@arguments.module
@arguments.output("File to make.", required=True)
@click.option("--view", is_flag=True, help="Copy no pixels: describe where they lie in the buffer.")
@click.option(
    "--compression",
    type=click.Choice(["none", "bslz4", "blosc", "lz4", "zlib"]),
    default="none",
    show_default=True,
    help="Filter.",
)
@click.option(
    "--missing",
    type=click.Choice(["skip", "fill"]),
    default="skip",
    show_default=True,
    help="Leave pulses out that no module has, or write zeros.",
)
@arguments.cluster("in this one")
@arguments.as_json
def command(
    *,
    folder: Path,
    start: int | None,
    stop: int | None,
    step: int,
    module: str | None,
    output: Path,
    view: bool,
    compression: str,
    missing: Literal["skip", "fill"],
    scheduler: str | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Write images of the detector in FOLDER to an HDF5 file.

    The file appears when it is complete. When the pixels of a record differ from their CRC no file is made: `pebbledaq verify`
    lists such records, `pebbledaq repair` makes holes of them. With --view pixels are not checked. No configuration is needed.

    With --workers or --scheduler the images are in the folder FILE.parts, which FILE joins. When the command is stopped, the same
    command goes on where it was.
    """
    from detectors.cluster import dask_workers
    from detectors.outputs.hdf5.cluster import write_on_workers
    from detectors.outputs.hdf5.copy import write_file
    from detectors.outputs.hdf5.selection import PulseRange
    from detectors.outputs.hdf5.view import write_view
    from ioc.cli.buffers import open_to_use, recorded_bounds
    from ioc.progress import progress, working
    from ioc.reports.output import print_json
    from ioc.reports.write import Written, text

    spread = scheduler is not None or workers is not None
    if view and (compression != "none" or spread):
        raise ConfigError("--view: copies nothing, so there is nothing to compress or to spread; drop the other option")
    reader = open_to_use(folder, module)
    pulses = PulseRange(*recorded_bounds(reader, start, stop), step)
    began = time.monotonic()
    if view:
        with working(f"{output.name}: describing where the pixels lie"):
            count = write_view(reader, pulses, output, missing=missing)
    elif spread:
        with dask_workers.workers(scheduler, workers) as those, progress(output.name, "parts") as show:
            count = write_on_workers(
                reader, pulses, output, those, compress=compression, missing=missing, progress=show
            )
    else:
        with progress(output.name, "images") as show:
            count = write_file(reader, pulses, output, compress=compression, missing=missing, progress=show)
    took_s = time.monotonic() - began
    written = Written(
        str(output),
        count,
        len(reader.modules),
        count * len(reader.modules) * reader.info.layout.data_bytes,
        took_s,
        view,
    )
    if as_json:
        print_json(written._asdict())
    else:
        print(text(written))
