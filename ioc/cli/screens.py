"""``pebbledaq screens``: the operators' screens of a configuration, for Phoebus and for PyDM."""

from pathlib import Path

import click

from detectors.errors import HostError
from ioc.cli import arguments


@click.command("screens")
@arguments.config
@arguments.output("Folder to write to.", folder=True, default=Path("screens"))
@arguments.as_json
def command(config: Path, output: Path, as_json: bool) -> None:
    """Write the screens of a configuration: .bob for Phoebus, .ui for PyDM."""
    from detectors.config import load_config
    from ioc.reports.output import print_json
    from ioc.screens.everything import files

    found = list(files(load_config(config)))
    try:
        output.mkdir(parents=True, exist_ok=True)
        for path, text in found:
            (output / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise HostError(f"{output}: cannot be written: {error.strerror}; choose another --output") from None
    if as_json:
        print_json({"folder": str(output), "files": [str(path) for path, _ in found]})
        return
    print(f"{len(found)} files in {output}; the first to open is overview.bob in Phoebus, overview.ui in PyDM")
