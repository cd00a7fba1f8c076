"""``pebbledaq map``: where the data of a configuration lies on the disks of its hosts."""

from pathlib import Path

import click

from ioc.cli import arguments


@click.command("map")
@arguments.config
@arguments.output("Map to write; one that is there is replaced.", required=True)
@arguments.as_json
def command(config: Path, output: Path, as_json: bool) -> None:
    """Write the map of the data of CONFIG, which spreads over the disks of its hosts.

    The commands that read a buffer take the map as FOLDER. A host whose folder cannot be seen from here is named, and is no error:
    its modules are missing while that is so.
    """
    from detectors.buffer.atomic import write_atomically
    from detectors.buffer.data_map import format_map
    from detectors.buffer.data_set import look_at
    from detectors.config import load_config
    from detectors.errors import HostError
    from detectors.outputs.data_sets import map_of
    from ioc.reports import data_map
    from ioc.reports.output import print_json

    detectors = map_of(load_config(config))
    try:
        write_atomically(output, format_map(detectors))
    except OSError as error:
        raise HostError(f"{output}: cannot be written: {error.strerror}; choose another file") from None
    modules = [module for detector in detectors for module in detector.modules]
    unseen = dict(zip((module.folder for module in modules), look_at(modules), strict=True))
    written = data_map.WrittenMap(str(output), detectors, unseen)
    if as_json:
        print_json(data_map.as_dict(written))
    else:
        print(*data_map.lines(written), sep="\n")
