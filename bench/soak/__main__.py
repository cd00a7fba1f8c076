"""``python -m bench.soak SCENARIO``: exits 0 only if everything agrees."""

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from bench.soak import kills as kill_scenario
from bench.soak import restarts as restart_scenario
from bench.soak import steady as steady_scenario
from bench.soak.result import Result
from bench.soak.rig import Rig
from bench.soak.setup import Setup
from detectors.errors import HostError, PebbleDaqError
from ioc.cli.sim.types import Shape

SAY_EVERY_S: Final = 10.0
LIMIT_S: Final = 600.0
"""What start, end and reading back may take beside the run itself, s; then it is given up."""


def common(seconds: float, modules: int, rate: float, shape: str, per_image: int) -> Callable[[Any], Any]:
    """Add the options of all scenarios."""
    options = (
        click.option("--seconds", type=click.FloatRange(min=1), default=seconds, show_default=True),
        click.option("--modules", type=click.IntRange(0, 8), default=modules, show_default=True, help="UDP modules."),
        click.option("--rate", type=click.FloatRange(min=1), default=rate, show_default=True, help="Pulses a second."),
        click.option("--shape", type=Shape(), default=shape, show_default=True, help="Of the camera, uint16."),
        click.option(
            "--pulses-per-image",
            type=click.IntRange(min=1),
            default=per_image,
            show_default=True,
            help="The camera takes every so many pulses.",
        ),
        click.option("--folder", type=click.Path(path_type=Path, file_okay=False, exists=True), help="For the data."),
        click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write the result."),
    )

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


warm_up = click.option("--warm-up", default=10.0, show_default=True, help="Memory counts from then on, s.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run the real main job on simulated sources for long, and check everything."""


@main.command()
@common(30, 2, 100, "2048x4096", 20)
@warm_up
def steady(warm_up: float, **options: Any) -> None:
    """Run two modules and a camera to disk: no loss, every byte right, memory flat."""
    _run(
        "steady",
        lambda rig, result, say: steady_scenario.run(rig, result, disk=True, warm_up_s=warm_up, say=say),
        **options,
    )


@main.command("no-disk")
@common(300, 2, 100, "2048x4096", 20)
@warm_up
def no_disk(warm_up: float, **options: Any) -> None:
    """Run the same for long, with the disk output disabled by its PV."""
    _run(
        "no-disk",
        lambda rig, result, say: steady_scenario.run(rig, result, disk=False, warm_up_s=warm_up, say=say),
        stored=False,
        **options,
    )


@main.command()
@common(600, 0, 100, "1024x2048", 20)
@click.option(
    "--every", type=click.FloatRange(min=1), default=30.0, show_default=True, help="Interval between kills, s."
)
@click.option(
    "--away", type=click.FloatRange(min=0), default=6.0, show_default=True, help="How long the camera is away, s."
)
@warm_up
def restarts(every: float, away: float, warm_up: float, **options: Any) -> None:
    """Kill a camera and start it again, over and over."""
    _run(
        "restarts",
        lambda rig, result, say: restart_scenario.run(
            rig, result, every_s=every, away_s=away, warm_up_s=warm_up, say=say
        ),
        **options,
    )


@main.command()
@common(240, 2, 50, "1024x1024", 10)
@click.option(
    "--every", type=click.FloatRange(min=0.5), default=10.0, show_default=True, help="Mean interval between kills, s."
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same kills.")
def kills(every: float, seed: int, **options: Any) -> None:
    """Kill workers and the IOC with -9 at random times."""
    _run("kills", lambda rig, result, say: kill_scenario.run(rig, result, every_s=every, seed=seed, say=say), **options)


def _run(
    scenario: str,
    body: Callable[[Rig, Result, Callable[[str], None]], None],
    *,
    seconds: float,
    modules: int,
    rate: float,
    shape: tuple[int, int],
    pulses_per_image: int,
    folder: Path | None,
    json_path: Path | None,
    stored: bool = True,
) -> None:
    console = Console()
    setup, result = Setup(modules, rate, shape, pulses_per_image), Result(scenario)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(round(3 * seconds + LIMIT_S))
    try:
        with Rig(setup, seconds=seconds if stored else 0, folder=folder) as rig:
            rig.seconds = seconds
            body(rig, result, _sayer(console))
    except PebbleDaqError as error:
        result.problems.append(str(error))
    except KeyboardInterrupt:
        result.problems.append("interrupted")
    signal.alarm(0)
    result.show(console)
    if json_path:
        result.write(json_path)
    sys.exit(not result.ok)


def _give_up(number: int, frame: Any) -> None:  # noqa: ARG001
    raise HostError("given up: it took far too long")


def _sayer(console: Console) -> Callable[[str], None]:
    """Return what prints a line of progress, but not more often than one can read."""
    last_s = -SAY_EVERY_S

    def say(text: str) -> None:
        nonlocal last_s
        if time.monotonic() - last_s >= SAY_EVERY_S:
            last_s = time.monotonic()
            console.print(text, highlight=False, soft_wrap=True)

    return say


if __name__ == "__main__":
    main()
