"""``pebbledaq keys``: make CURVE keys of ZMQ streams."""

from pathlib import Path

import click

from detectors.curve import SERVER, make_keys
from detectors.errors import ConfigError
from ioc.cli import arguments


@click.command("keys")
@click.argument("name")
@arguments.output("Folder of the keys: the value of zmq.curve_keys.", metavar="DIRECTORY", required=True)
def command(name: str, output: Path) -> None:
    """Make a pair of keys: for the NAME server first, then for each client."""
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(f"NAME: found {name!r}, expected letters, digits, - and _")
    public, secret = make_keys(output, name)
    print(f"public: {public}\nsecret: {secret}")
    if name != SERVER:
        print(f"Give the client {secret} and {output / (SERVER + '.key')}; start the workers anew.")
