"""``pebbledaq keys``: make CURVE keys of ZMQ streams."""

from pathlib import Path

import click

from detectors.curve import SERVER, make_keys
from detectors.errors import ConfigError


@click.command("keys")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("name")
def command(folder: Path, name: str) -> None:
    """Make a pair of keys in FOLDER, the value of zmq.curve_keys: for the NAME server first, then for each client."""
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(f"NAME: found {name!r}, expected letters, digits, - and _")
    public, secret = make_keys(folder, name)
    print(f"public: {public}\nsecret: {secret}")
    if name != SERVER:
        print(f"Give the client {secret} and {folder / (SERVER + '.key')}; start the workers anew.")
