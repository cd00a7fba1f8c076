"""``pebbledaq demo``: the main job on simulated sources, every byte checked."""

import sys
from pathlib import Path

import click

from ioc.cli import arguments


@click.command("demo")
@click.option(
    "--seconds", type=click.FloatRange(min=1), default=15.0, show_default=True, help="How long data is taken."
)
@click.option("--forever", is_flag=True, help="Take data until Ctrl-C; only the last half minute is kept.")
@arguments.output("Folder to leave the data in; left out: it is deleted.", folder=True)
def command(seconds: float, forever: bool, output: Path | None) -> None:
    """Run a camera, two JUNGFRAU modules, timing and an IOC on this machine, and check every byte that is stored.

    Ctrl-C ends the data taking early; the data is checked all the same. Exits 0 only if everything agrees.
    """
    from rich.console import Console

    from ioc.demo.main import Demo
    from ioc.demo.pattern import mismatch

    sys.exit(Demo(Console(), None if forever else seconds, output, mismatch).run())
