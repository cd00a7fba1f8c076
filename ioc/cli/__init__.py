"""The command ``pebbledaq``: every subcommand lives in a module of its own, imported when it is called."""

import importlib
import io
import sys
from typing import Final, cast

import click

from detectors.errors import PebbleDaqError

_COMMANDS: Final = {
    "capture": "Write live images to HDF5, on command.",
    "check": "Check a configuration and its host, with remedies.",
    "demo": "Run the main job on simulated sources and check every byte.",
    "deploy": "Write systemd units, or a container, for a configuration.",
    "images": "Show live images as PVs.",
    "info": "Show what a binary buffer holds.",
    "keys": "Make keys for ZMQ streams over tcp.",
    "monitor": "Run one PvMonitor.",
    "pvs": "List the records of a configuration.",
    "read": "Show a pulse of the binary buffer.",
    "receive": "Run one UDP module receiver.",
    "repair": "Mark torn records as holes and rebuild LATEST.",
    "replay": "Send recorded data again.",
    "run": "Start the soft-IOC, which starts and watches the workers.",
    "screens": "Write the screens for operators, for Phoebus and PyDM.",
    "sim": "Simulate a source.",
    "sizes": "Print the buffer plan of a configuration.",
    "status": "Show how running systems are: good, losing or broken.",
    "stream": "Assemble live images and stream them.",
    "verify": "Check the consistency of a buffer, and of an HDF5 file with it.",
    "web": "Serve a page that shows the detector in a browser.",
    "write": "Write a pulse range of the binary buffer to HDF5.",
}
"""Subcommands: each is ``command`` in ``ioc.cli.<name>``."""


class _LazyGroup(click.Group):
    """A group that imports a subcommand's module when it is called: ``receive`` must not wait for softioc."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        return importlib.import_module(f"ioc.cli.{cmd_name}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(sorted(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pebbledaq")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Least level that is logged, by workers that it starts too; left out: that of the configuration.",
)
def cli(log_level: str | None) -> None:
    """Take detector data into pools, to disk, ZMQ and HDF5, watched and driven as an EPICS IOC."""


def main() -> None:
    """Run the command line; a user's mistake is reported in one line, never by a traceback."""
    # Names on disk may be any bytes.
    cast("io.TextIOWrapper", sys.stdout).reconfigure(errors="backslashreplace")
    try:
        sys.exit(cli.main(standalone_mode=False))
    except PebbleDaqError as error:
        for line in str(error).splitlines():
            click.echo(f"pebbledaq: {line}", err=True)
        sys.exit(error.exit_code)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
