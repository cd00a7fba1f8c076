"""``pebbledaq deploy systemd``: units, and a sysctl.d file."""

import getpass
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from ioc.cli import arguments
from ioc.cli.deploy import files


@click.command("systemd")
@arguments.config
@click.option("--per-worker", is_flag=True, help="A unit for each worker and for the IOC, which adopts them.")
@click.option("--user", default=getpass.getuser, show_default="this account", help="Account that it runs as.")
@files.output
@arguments.as_json
def command(config: Path, *, per_worker: bool, user: str, output: Path | None, as_json: bool) -> None:
    """Write the systemd units of CONFIG, and a sysctl.d file."""
    from detectors.config import load_config
    from ioc.deploy import systemd

    found = systemd.units(load_config(config), config.absolute(), user, _program(), per_worker=per_worker)
    files.give(found, output, as_json=as_json)
    if output and not as_json:
        _print_how_to_install(found, output, per_worker=per_worker)


def _print_how_to_install(names: Iterable[str], output: Path, *, per_worker: bool) -> None:
    main = next(name for name in reversed(list(names)) if name.endswith((".target", ".service")))
    print("To install them, as root:")
    if any(name.endswith(".conf") for name in names):
        print(f"  cp {output}/*.conf /etc/sysctl.d/ && sysctl --system")
    print(f"  cp {output}/*.service {f'{output}/*.target ' if per_worker else ''}/etc/systemd/system/")
    print(f"  systemctl daemon-reload && systemctl enable --now {'pebbledaq-*.service ' if per_worker else ''}{main}")


def _program() -> str:
    """Return how this program is started: its command, if it is installed beside the interpreter."""
    script = Path(sys.executable).with_name("pebbledaq")
    return str(script) if script.exists() else f"{sys.executable} -m ioc"
