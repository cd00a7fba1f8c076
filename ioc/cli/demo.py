"""``pebbledaq demo``: the main job on simulated sources, every byte checked."""

import sys
from pathlib import Path

import click
import numpy as np
from rich.console import Console

from ioc.cli import arguments
from sim.pattern import first_mismatch, missing_flags


@click.command("demo")
@click.option(
    "--seconds", type=click.FloatRange(min=1), default=15.0, show_default=True, help="How long data is taken."
)
@click.option("--forever", is_flag=True, help="Take data until Ctrl-C; only the last half minute is kept.")
@arguments.output("Folder to leave the data in; left out: it is deleted.", metavar="DIRECTORY")
def command(seconds: float, forever: bool, output: Path | None) -> None:
    """Run a camera, two JUNGFRAU modules, timing and an IOC on this machine, and check every byte that is stored.

    Ctrl-C ends the data taking early; the data is checked all the same. Exits 0 only if everything agrees.
    """
    from ioc.demo.main import run_demo

    sys.exit(run_demo(Console(), seconds=None if forever else seconds, keep=output, mismatch=_mismatch))


def _mismatch(data: np.ndarray, pulse_id: int, module_id: int, missing_mask: bytes) -> int | None:
    from ioc.demo.plan import GEOMETRY

    missing = missing_flags(missing_mask, GEOMETRY.packets_per_frame) if missing_mask else None
    return first_mismatch(data, pulse_id, module_id, data.shape, data.dtype, missing=missing)
