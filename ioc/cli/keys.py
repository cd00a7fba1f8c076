"""``pebbledaq keys``: make CURVE keys of ZMQ streams."""

from pathlib import Path

import click

from detectors.errors import ConfigError
from ioc.cli import arguments


@click.command("keys")
@click.argument("name")
@arguments.output("Folder of the keys: the value of zmq.curve_keys.", folder=True, required=True)
@arguments.as_json
def command(name: str, output: Path, as_json: bool) -> None:
    """Make a pair of CURVE keys for NAME: for `server` first, then for each client."""
    from detectors.curve import SERVER, make_keys
    from ioc.reports.output import print_json

    if not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(f"NAME: found {name!r}, expected letters, digits, - and _")
    public, secret = make_keys(output, name)
    server = output / f"{SERVER}.key"
    if as_json:
        print_json({"public": str(public), "secret": str(secret), "server": str(server)})
        return
    print(f"public: {public}\nsecret: {secret}")
    if name != SERVER:
        print(f"Give the client {secret} and {server}; restart the workers.")
