"""The clock that simulated sources share, and their run: ``READY`` with a JSON object, at the end the report, a JSON object."""

import functools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import click

from ioc.cli import arguments
from ioc.cli.arguments import Function
from ioc.cli.sim.types import Epoch
from sim.clock import Schedule, Stop


@dataclass(frozen=True, slots=True)
class Start:
    """When a source begins, and on which schedule."""

    schedule: Schedule
    from_input: bool
    """The epoch is read as a line from standard input; another line, or end of file, ends the source."""

    def begin(self, source: Any, stop: Stop) -> bool:
        """Give a source that is ready its schedule; False when it is not to begin any more."""
        source.schedule = self.schedule.begun()
        if not self.from_input:
            return True
        descriptor = sys.stdin.fileno()
        line = stop.read_line(descriptor)
        if line is None:
            return False
        if not line.strip().isdigit():
            raise click.ClickException(f"standard input: found {line!r}, expected a POSIX time in ns")
        stop.watch(descriptor)
        source.schedule = replace(self.schedule, epoch_ns=int(line), shared=True)
        return True


def timeline(rate: float) -> Callable[[Function], Function]:
    """Add the options of the clock that sources share; the function gets ``start``, ``frames`` and ``seconds``."""
    options = (
        arguments.rate("Events a second; 0: as fast as possible.", rate),
        click.option("--frames", type=click.IntRange(min=1), help="End after so many events."),
        click.option("--seconds", type=click.FloatRange(min=0), help="End after so long."),
        click.option(
            "--epoch-ns",
            type=Epoch(),
            help="POSIX time of event 0, ns, shared by several sources; -: read it from standard input when all are ready.",
        ),
        arguments.first_pulse,
        arguments.step,
    )

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def wrapper(*, rate_hz: float, epoch_ns: int | str | None, start: int, step: int, **rest: Any) -> Any:
            epoch = epoch_ns if isinstance(epoch_ns, int) else None
            schedule = Schedule.at_rate(rate_hz, epoch_ns=epoch, first_pulse=start, pulse_step=step)
            return function(start=Start(schedule, from_input=epoch_ns == "-"), **rest)

        for option in reversed(options):
            wrapper = option(wrapper)
        return wrapper  # type: ignore[return-value]

    return decorate


def ready(**facts: Any) -> None:
    """Say that the source can be reached, and where."""
    click.echo(f"READY {json.dumps(facts)}")


def report(found: Any) -> None:
    """Print the report of a source that has ended."""
    click.echo(json.dumps(found.as_dict()))


def send(sender: Any, start: Start, facts: dict[str, Any], **limits: float | None) -> None:
    """Run a sender from its start to its report."""
    with Stop() as stop:
        ready(**facts)
        try:
            if start.begin(sender, stop):
                sender.run(stop, **limits)
        finally:
            sender.close()
            report(sender.report)
