"""``pebbledaq pvs``: the records of a configuration, listed without starting anything."""

from pathlib import Path

import click

from ioc.cli import arguments


@click.command("pvs")
@arguments.config
@click.option(
    "--archive", is_flag=True, help="Only what is worth archiving: name, method, and shortest time between values."
)
@arguments.as_json
def command(config: Path, archive: bool, as_json: bool) -> None:
    """List every record that `run CONFIG` serves, with its type and what it is.

    Piped, it prints a record a line, name first: for grep, cut and save sets.
    """
    from detectors.config import load_config
    from ioc.record_text import records
    from ioc.reports import pvs
    from ioc.reports.output import print_json
    from ioc.templates import loads

    found = [record for load in loads(load_config(config)) for record in records(load)]
    if archive:
        found = [record for record in found if record.archive]
    if as_json:
        print_json(pvs.as_list(found))
    elif archive:
        pvs.show_archive(found)
    else:
        pvs.show(found)
