"""``pebbledaq sim timing``: timing headers."""

from typing import Any

import click

from ioc.cli.sim.timeline import Start, send, timeline
from ioc.cli.sim.types import AddressType


@click.command("timing")
@click.argument("address", type=AddressType())
@timeline(rate=100.0)
@click.option(
    "--transitions/--no-transitions", default=False, help="Send the transitions of a run around the L1Accepts."
)
@click.option("--loss", default=0.0, show_default=True, help="Fraction of L1Accepts that are not sent.")
@click.option("--jitter-ms", default=0.0, show_default=True, help="Most that an L1Accept comes late.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same faults.")
def command(
    *,
    address: tuple[str, int],
    start: Start,
    frames: int | None,
    seconds: float | None,
    jitter_ms: float,
    **fields: Any,
) -> None:
    """Send timing headers to ADDRESS, a host or a multicast group."""
    from sim.timing import TimingSender

    sender = TimingSender(address, start.schedule, jitter_s=jitter_ms / 1000, **fields)
    send(sender, start, {"address": address}, count=frames, seconds=seconds)
