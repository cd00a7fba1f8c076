"""``pebbledaq deploy``: what a host needs to run a configuration as a service."""

import getpass
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from detectors.errors import HostError
from ioc.cli import arguments

_OUTPUT = arguments.output("Folder to write the files to; left out: they are printed.", folder=True)


@click.group("deploy")
def command() -> None:
    """Write systemd units or a container for a configuration, with limits that fit it and the reasons as comments."""


@command.command("systemd")
@arguments.config
@click.option("--per-worker", is_flag=True, help="A unit for each worker and for the IOC, which adopts them.")
@click.option("--user", default=getpass.getuser, show_default="this account", help="Account that it runs as.")
@_OUTPUT
def for_systemd(config: Path, per_worker: bool, user: str, output: Path | None) -> None:
    """Write the systemd units of CONFIG, and a sysctl.d file."""
    from detectors.config import load_config
    from ioc.deploy import systemd

    loaded = load_config(config)
    found = systemd.units(loaded, config.absolute(), user, _program(), per_worker=per_worker)
    _give(found, output)
    if output:
        main = next(name for name in reversed(found) if name.endswith((".target", ".service")))
        print("To install them, as root:")
        if any(name.endswith(".conf") for name in found):
            print(f"  cp {output}/*.conf /etc/sysctl.d/ && sysctl --system")
        print(f"  cp {output}/*.service {f'{output}/*.target ' if per_worker else ''}/etc/systemd/system/")
        print(
            f"  systemctl daemon-reload && systemctl enable --now {'pebbledaq-*.service ' if per_worker else ''}{main}"
        )


@command.command("container")
@arguments.config
@_OUTPUT
def for_container(config: Path, output: Path | None) -> None:
    """Write a Containerfile for CONFIG, and the script that runs it."""
    from detectors.config import load_config
    from ioc.deploy import container

    found = container.files(load_config(config), config.absolute())
    _give(found, output)
    if output:
        (output / container.SCRIPT).chmod(0o755)
        print(f"Build it as {output}/Containerfile says, then run {output}/{container.SCRIPT}")


def _program() -> str:
    """Return how this program is started: its command, if it is installed beside the interpreter."""
    script = Path(sys.executable).with_name("pebbledaq")
    return str(script) if script.exists() else f"{sys.executable} -m ioc"


def _give(files: Mapping[str, str], output: Path | None) -> None:
    """Print files, or write them. Raises HostError."""
    for name, text in files.items():
        if output is None:
            print(f"#### {name}\n{text}")
            continue
        try:
            output.mkdir(parents=True, exist_ok=True)
            (output / name).write_text(text, encoding="utf-8")
        except OSError as error:
            raise HostError(f"{output / name}: cannot be written: {error.strerror}; choose another folder") from None
        print(output / name)
