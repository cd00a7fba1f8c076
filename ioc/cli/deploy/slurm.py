"""``pebbledaq deploy slurm``: a script for sbatch."""

from pathlib import Path

import click

from ioc.cli import arguments
from ioc.cli.deploy import files


@click.command("slurm")
@arguments.config
@click.option("--partition", metavar="NAME", default="", help="Partition of all nodes; left out: the default one.")
@click.option(
    "--ioc-host",
    metavar="NODE",
    default="",
    help="Node of the IOC, of a [[host]] or another; left out: any of the partition.",
)
@click.option(
    "--host", metavar="NAME", help='A job of this [[host]] alone, or of the IOC with "ioc"; left out: one job of all.'
)
@click.option(
    "--no-ioc", is_flag=True, help="Leave the IOC out of the job: one that runs elsewhere adopts the workers."
)
@click.option(
    "--sbatch",
    "options",
    metavar="OPTION",
    multiple=True,
    help="A further option of sbatch: --sbatch --account=NAME. Repeatable.",
)
@arguments.output("File to write the script to; left out: it is printed.")
@arguments.as_json
def command(
    config: Path,
    *,
    partition: str,
    ioc_host: str,
    host: str | None,
    no_ioc: bool,
    options: tuple[str, ...],
    output: Path | None,
    as_json: bool,
) -> None:
    """Write a script for sbatch that runs CONFIG as one job, with a component for each of its hosts.

    The name of a [[host]] is that of its node in Slurm. The program and CONFIG lie at the same paths on all nodes.
    """
    from detectors.config import load_config
    from detectors.errors import ConfigError
    from ioc.deploy import slurm
    from ioc.reports.output import print_json

    if no_ioc and ioc_host:
        raise ConfigError(f"--ioc-host: found {ioc_host!r} with --no-ioc, expected one of the two")
    found = slurm.components(load_config(config), config.absolute(), None if no_ioc else ioc_host)
    chosen = files.of_host(found, host)
    text = slurm.script(list(chosen.values()), config.absolute(), files.program(), partition=partition, options=options)
    if output:
        files.write({output.name: text}, output.parent)
    if as_json:
        print_json({"file": str(output) if output else None, "script": text})
    elif output:
        print(f"{output}\nTo start it: sbatch {output}")
    else:
        print(text, end="")
