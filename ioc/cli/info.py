"""``pebbledaq info``: what is in a binary buffer."""

from pathlib import Path

import click

from ioc.cli import arguments


@click.command("info")
@arguments.folder
@arguments.pulse_range
@arguments.module
@arguments.as_json
def command(folder: Path, start: int | None, stop: int | None, module: str | None, as_json: bool) -> None:
    """Show what a buffer holds: FOLDER is that of a detector, or the folder of several.

    JSON has every range of pulses. Heads and sidecars are read, but no pixels: `pebbledaq verify` checks those.
    """
    from detectors.buffer.inventory import take_inventory
    from ioc.cli.buffers import bounds, find_detectors, open_buffer
    from ioc.progress import progress
    from ioc.reports import info
    from ioc.reports.output import print_json

    trees: list[object] = []
    for detector in find_detectors(folder):
        with open_buffer(detector, module) as reader:
            with progress(f"info {detector.name}", "files") as show:
                found = take_inventory(reader, *bounds(start, stop), show)
            if as_json:
                trees.append(info.as_dict(reader, found))
            else:
                info.show(detector.path, reader.info.frames, found)
    if as_json:
        print_json(trees)
