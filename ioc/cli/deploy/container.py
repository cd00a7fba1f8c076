"""``pebbledaq deploy container``: a Containerfile, and the script that runs it."""

from pathlib import Path

import click

from ioc.cli import arguments
from ioc.cli.deploy import files


@click.command("container")
@arguments.config
@files.output
@arguments.as_json
def command(config: Path, output: Path | None, as_json: bool) -> None:
    """Write a Containerfile for CONFIG, and the script that runs it."""
    from detectors.config import load_config
    from ioc.deploy import container

    files.give(container.files(load_config(config), config.absolute()), output, as_json=as_json)
    if output:
        (output / container.SCRIPT).chmod(0o755)
        if not as_json:
            print(f"Build it as {output}/Containerfile says, then run {output}/{container.SCRIPT}")
