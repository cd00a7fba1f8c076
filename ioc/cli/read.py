"""``pebbledaq read``: look at one pulse of the binary buffer."""

from pathlib import Path

import click

from ioc.cli import arguments


@click.command("read")
@arguments.folder
@arguments.pulse
@arguments.module
@arguments.output("Write the image as a grey PNG.")
@arguments.as_json
def command(folder: Path, pulse: int, module: str | None, output: Path | None, as_json: bool) -> None:
    """Show what a detector's FOLDER holds of a PULSE."""
    from ioc.cli.buffers import open_to_use
    from ioc.reports import read
    from ioc.reports.output import print_json

    with open_to_use(folder, module) as reader:
        image = reader.read_image(pulse, allow_missing=True)
        if output:
            from ioc.reports.picture import write_png

            write_png(output, image.data)
        if as_json:
            print_json(read.as_dict(reader, image))
        else:
            read.show(reader, image)
