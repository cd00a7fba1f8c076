"""``pebbledaq version``: the versions that a report of a problem needs."""

import platform
from importlib import metadata
from typing import Final

import click

from ioc.cli import arguments

_LIBRARIES: Final = ("softioc", "p4p", "caproto", "numpy", "h5py", "hdf5plugin", "pyzmq", "pydantic")


@click.command("version")
@arguments.as_json
def command(as_json: bool) -> None:
    """Print the versions of this program, of Python, of the system and of the libraries that matter most."""
    found = {"pebbledaq": _version("pebbledaq"), "python": platform.python_version(), "system": platform.platform()}
    libraries = {name: _version(name) for name in _LIBRARIES}
    if as_json:
        from ioc.reports.output import print_json

        print_json({**found, "libraries": libraries})
        return
    for name, version in {**found, **libraries}.items():
        print(f"{name:10} {version or 'not installed'}")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
