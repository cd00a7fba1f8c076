"""``pebbledaq sim detector``: simulators for all sources of a configuration, on one clock."""

import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ioc.cli import arguments

if TYPE_CHECKING:
    from ioc.demo.children import Child
    from ioc.demo.sources import Simulator
    from sim.clock import Stop

_START_S: Final = 30.0
_HEAD_START_S: Final = 0.5
"""From the word to start until event 0, so that all sources have heard it, s."""
_LOOK_S: Final = 0.1


@click.command("detector")
@arguments.config
@arguments.rate("Frames a second.", 10.0)
@click.option(
    "--every",
    metavar="N",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Cameras and timing take every N-th pulse of the modules.",
)
@click.option("--frames", type=click.IntRange(min=1), help="End after so many frames; left out: go on until Ctrl-C.")
@click.option("--seconds", type=click.FloatRange(min=0), help="End after so long.")
@arguments.first_pulse
@click.option("--only", metavar="NAME", multiple=True, help="Only this source; may be given several times.")
@click.option("--loss", type=click.FloatRange(0, 1), help="Fraction of the modules' packets that are not sent.")
@click.option("--duplicate", type=click.FloatRange(0, 1), help="Fraction of packets that are sent twice.")
@click.option("--reorder", type=click.FloatRange(0, 1), help="Fraction of packets that are sent late.")
@click.option("--wait/--no-wait", default=True, help="Wait until receivers of this host listen, or send at once.")
@arguments.as_json
def command(
    config: Path,
    *,
    only: tuple[str, ...],
    rate_hz: float,
    every: int,
    frames: int | None,
    seconds: float | None,
    start: int,
    wait: bool,
    as_json: bool,
    **faults: float | None,
) -> None:
    """Simulate every source of CONFIG: its modules and cameras with their geometry, ids and addresses, and the timing.

    All share pulses and time stamps. Waits until the modules' receivers on this host listen. Prints READY when they
    begin, and what each has sent when they end.
    """
    from detectors.config import load_config
    from detectors.workers.preflight.network import granted_receive_buffer
    from ioc.demo.sources import Clock, simulators

    if not rate_hz:
        raise click.BadParameter("found 0, expected frames a second", param_hint="--rate")
    loaded = load_config(config)
    clock = Clock(rate_hz, start, loaded.detector.pulse_id_step, every, frames, seconds)
    dma = [loaded.dma_of(module) for module in loaded.udp]
    granted = min((granted_receive_buffer(d.cfg_rx_count, int(d.cfg_size)) for d in dma), default=0)
    options = [text for name, value in faults.items() if value is not None for text in (f"--{name}", f"{value:g}")]
    found = simulators(loaded, clock, only=frozenset(only), receive_buffer=granted, faults=options)
    if not found:
        raise click.ClickException(f"{config}: no source is enabled; name one with --only")
    _print_reports(_run(found, wait=wait), as_json=as_json)


def _run(found: "list[Simulator]", *, wait: bool) -> Mapping[str, Any]:
    """Start the simulators, let them begin together, and return their reports when they have ended."""
    from ioc.demo.children import Child
    from sim.clock import Stop

    with ExitStack() as stack:
        stop = stack.enter_context(Stop())
        began_s = time.monotonic()
        children: dict[str, Child] = {}
        for one in found:
            child = Child(one.name, ["sim", *one.arguments, "--epoch-ns", "-"], os.environ)
            stack.callback(child.end)
            children[one.name] = child
        for child in children.values():
            child.wait_ready(began_s + _START_S)
        if wait and _wait_for_receivers(found, stop):
            return {}
        epoch_ns = time.time_ns() + round(_HEAD_START_S * 1e9)
        for child in children.values():
            child.write_line(f"{epoch_ns}")
        click.echo("READY " + ", ".join(f"{one.name} {one.what}" for one in found))
        while any(child.running for child in children.values()) and not stop.wait(_LOOK_S):
            _check(children)
        for child in children.values():
            child.ask_to_end()
        for child in children.values():
            child.wait(_START_S)
        return {name: child.report() for name, child in children.items()}


def _wait_for_receivers(found: "list[Simulator]", stop: "Stop") -> bool:
    """Wait until receivers listen on the ports of this host; return whether it is time to stop."""
    from ioc.demo.listeners import silent

    ports = {one.what: one.name for one in found if one.arguments[0] == "udp"}
    said = False
    while missing := silent(ports):
        if not said:
            names = ", ".join(f"{ports[address]} {address}" for address in missing)
            click.echo(f"waiting until receivers listen: {names}", err=True)
            said = True
        if stop.wait(_LOOK_S):
            return True
    return False


def _check(children: "Mapping[str, Child]") -> None:
    """Raise HostError when a simulator has failed; the others go on until then."""
    for child in children.values():
        if not child.running:
            child.wait(_START_S)
            child.report()


def _print_reports(reports: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(reports))
        return
    for name, report in reports.items():
        click.echo(f"{name}: {_in_words(report)}")
    sys.stdout.flush()


def _in_words(report: Mapping[str, Any]) -> str:
    pulses = f"pulses {report['first_pulse']} to {report['last_pulse']}" if "first_pulse" in report else "no pulse"
    if "packets" in report:
        more = [f"{report[key]} {key}" for key in ("lost", "duplicated", "reordered") if report[key]]
        return ", ".join([f"{report['frames']} frames, {pulses}", f"{report['packets']} packets", *more])
    if "images" in report:
        return f"{report['images']} images, {pulses}"
    return f"{report['l1_accepts']} events, {pulses}"
