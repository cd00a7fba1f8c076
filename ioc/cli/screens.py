"""``pebbledaq screens``: the operators' screens of a configuration, for Phoebus and for PyDM."""

from pathlib import Path

import click

from detectors.config import load_config
from detectors.errors import HostError
from ioc.cli import arguments
from ioc.screens.everything import files


@click.command()
@arguments.config
@arguments.output("Folder to write to.", metavar="DIRECTORY", default=Path("screens"))
def command(config: Path, output: Path) -> None:
    """Write the screens of a configuration: .bob for Phoebus, .ui for PyDM."""
    found = list(files(load_config(config)))
    try:
        output.mkdir(parents=True, exist_ok=True)
        for path, text in found:
            (output / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise HostError(
            f"--output: cannot write to {output}: {error.strerror}, expected a folder of yours; give another --output"
        ) from None
    click.echo(f"{len(found)} files in {output}; the first to open is overview.bob in Phoebus, overview.ui in PyDM")
