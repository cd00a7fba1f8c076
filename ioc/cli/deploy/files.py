"""Files that ``deploy`` makes: written to a folder, or printed."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeVar

from detectors.errors import ConfigError, HostError
from ioc.cli import arguments

T = TypeVar("T")

output: Final = arguments.output("Folder to write the files to; left out: they are printed.", folder=True)


def give(files: Mapping[str, str], folder: Path | None, *, as_json: bool) -> None:
    """Write files to a folder, if one is given, and print their names, or else the files. Raises HostError."""
    if folder:
        write(files, folder)
    if as_json:
        from ioc.reports.output import print_json

        print_json({"folder": str(folder) if folder else None, "files": dict(files)})
        return
    for name, text in files.items():
        print(folder / name if folder else f"#### {name}\n{text}")


def write(files: Mapping[str, str], folder: Path) -> None:
    """Write files to a folder, by their names in it. Raises HostError."""
    for name, text in files.items():
        try:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        except OSError as error:
            raise HostError(f"{folder / name}: cannot be written: {error.strerror}; choose another --output") from None


def program() -> str:
    """Return how this program is started: its command, if it is installed beside the interpreter."""
    script = Path(sys.executable).with_name("pebbledaq")
    return str(script) if script.exists() else f"{sys.executable} -m ioc"


def of_host(found: Mapping[str, T], host: str | None) -> Mapping[str, T]:
    """Return what was found for the host of ``--host``, or all. Raises ConfigError."""
    if host is None:
        return found
    if host not in found:
        raise ConfigError(f"--host: found {host!r}, expected one of {', '.join(found)}")
    return {host: found[host]}
