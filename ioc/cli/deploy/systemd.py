"""``pebbledaq deploy systemd``: units, and a sysctl.d file."""

import getpass
from collections.abc import Iterable
from pathlib import Path

import click

from ioc.cli import arguments
from ioc.cli.deploy import files


@click.command("systemd")
@arguments.config
@click.option(
    "--per-worker", is_flag=True, help="On the IOC's host, a unit for each worker and for the IOC, which adopts them."
)
@click.option(
    "--host",
    metavar="NAME",
    help='Only the files of this [[host]], or of the IOC\'s with "ioc"; left out: a folder for each.',
)
@click.option("--user", default=getpass.getuser, show_default="this account", help="Account that it runs as.")
@files.output
@arguments.as_json
def command(config: Path, *, per_worker: bool, host: str | None, user: str, output: Path | None, as_json: bool) -> None:
    """Write the systemd units of CONFIG, and a sysctl.d file; where CONFIG has hosts, a folder of them for each."""
    from detectors.config import load_config
    from ioc.deploy import systemd
    from ioc.deploy.unit import Program

    loaded = load_config(config)
    program = Program(files.program(), config.absolute(), user)
    hosts = systemd.files_by_host(loaded, program, per_worker=per_worker)
    chosen = files.of_host(hosts, host)
    if len(chosen) == 1:
        chosen = {"": next(iter(chosen.values()))}
    files.give(
        {f"{at}/{n}" if at else n: text for at, f in chosen.items() for n, text in f.items()}, output, as_json=as_json
    )
    if output and not as_json:
        for at, found in chosen.items():
            _print_how_to_install(found, output / at, at)


def _print_how_to_install(names: Iterable[str], folder: Path, host: str) -> None:
    from ioc.deploy import systemd

    ends = {Path(name).suffix for name in names}
    main = next(name for name in reversed(list(names)) if name.endswith((".target", ".service")))
    where = "the IOC's host" if host == systemd.IOC else host
    print(f"To install them{f' on {where}' if host else ''}, as root:")
    if ".conf" in ends:
        print(f"  cp {folder}/*.conf /etc/sysctl.d/ && sysctl --system")
    print(f"  cp {' '.join(f'{folder}/*{end}' for end in ('.service', '.target') if end in ends)} /etc/systemd/system/")
    print(f"  systemctl daemon-reload && systemctl enable --now {main}")
