"""The command ``pebbledaq``: every subcommand lives in a module of its own, imported when it is called."""

import io
import sys
from typing import Any, Final, NoReturn, cast

import click

from detectors.errors import PebbleDaqError
from ioc.cli.lazy import LazyGroup

_COMMANDS: Final = {
    "capture": "Write live images to HDF5, on command.",
    "check": "Check a configuration and its host, with remedies.",
    "completion": "Print the script that completes commands in a shell.",
    "demo": "Take data from simulated sources and check every byte.",
    "deploy": "Write systemd units, or a container, for a configuration.",
    "images": "Show live images as PVs.",
    "info": "Show what a binary buffer holds.",
    "keeper": "Delete the oldest data of one host, within its limits.",
    "keys": "Make keys for ZMQ streams over tcp.",
    "map": "Write where the data lies on the disks of several hosts.",
    "monitor": "Receive the images of one camera (PVA or CA).",
    "process": "Apply a function of yours to recorded or live images.",
    "pvs": "List the records of a configuration.",
    "read": "Show a pulse of the binary buffer.",
    "receive": "Receive the frames of one UDP module.",
    "repair": "Mark torn records as holes and rebuild LATEST.",
    "replay": "Send recorded data again.",
    "run": "Start the soft-IOC, which starts and watches the workers.",
    "screens": "Write the screens for operators, for Phoebus and PyDM.",
    "sim": "Simulate modules, cameras and timing.",
    "sizes": "Print the buffer plan of a configuration.",
    "status": "Show whether running systems are good, losing or broken.",
    "stream": "Assemble live images and publish them on ZMQ.",
    "verify": "Check the consistency of a buffer, and of an HDF5 file with it.",
    "version": "Print the versions of the program and its libraries.",
    "web": "Serve a page that shows the detector in a browser.",
    "write": "Write a pulse range of the binary buffer to HDF5.",
}
"""Subcommands: each is ``command`` in ``ioc.cli.<name>``."""

_STOPPED: Final = 130
"""Exit code of a command that Ctrl-C ended."""


class _Program(LazyGroup):
    """Reports every mistake in one line: no usage, no traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; Ctrl-C ends it as ``Abort``."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if sys.stderr.isatty():
                click.echo(err=True)  # behind ^C
            raise click.Abort from None

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """Run a command line and exit: 0, 1 with findings or where the host refused, 2 for a wrong request, 130 after Ctrl-C."""
        try:
            code = super().main(*args, **{**extra, "standalone_mode": False})
        except PebbleDaqError as error:
            _say(str(error).splitlines())
            code = error.exit_code
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            code = error.exit_code
        except click.ClickException as error:
            _say(_lines(error))
            code = error.exit_code
        except click.Abort:
            _say(["stopped by Ctrl-C"])
            code = _STOPPED
        sys.exit(code)


def _say(lines: list[str]) -> None:
    for line in lines:
        click.echo(f"pebbledaq: {line}", err=True)


def _lines(error: click.ClickException) -> list[str]:
    text = " ".join(error.format_message().split()).rstrip(".")
    if isinstance(error, click.UsageError) and error.ctx:
        text += f"; {error.ctx.command_path} --help shows what it takes"
    return [text]


@click.group(
    "pebbledaq",
    cls=_Program,
    package=__name__,
    commands_help=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="pebbledaq")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Least level that is logged, also by the workers that `run` starts; left out: that of the configuration.",
)
def cli(log_level: str | None) -> None:
    """Take detector data to disk, ZMQ, HDF5 and screens, with every buffer, state and loss as a PV."""


def main() -> None:
    """Run the command line of this process."""
    # Names on disk may be any bytes.
    cast("io.TextIOWrapper", sys.stdout).reconfigure(errors="backslashreplace")
    cli()
