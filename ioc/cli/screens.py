"""``pebbledaq screens``: the operators' screens of a configuration, for Phoebus and for PyDM."""

from pathlib import Path

import click

from ioc.cli import arguments


@click.command("screens")
@arguments.config
@arguments.output("Folder to write to.", folder=True, default=Path("screens"))
@arguments.as_json
def command(config: Path, output: Path, as_json: bool) -> None:
    """Write the screens of a configuration: .bob for Phoebus, .ui for PyDM."""
    from detectors.config import load_config
    from ioc.cli.deploy.files import write
    from ioc.reports.output import print_json
    from ioc.screens.everything import files

    found = {str(path): text for path, text in files(load_config(config))}
    write(found, output)
    if as_json:
        print_json({"folder": str(output), "files": list(found)})
        return
    print(f"{len(found)} files in {output}; the first to open is overview.bob in Phoebus, overview.ui in PyDM")
