"""``pebbledaq sim udp``: the packets of one module."""

from typing import TYPE_CHECKING, Any

import click

from ioc.cli.sim.geometry import GeometryType
from ioc.cli.sim.timeline import Start, send, timeline
from ioc.cli.sim.types import AddressType

if TYPE_CHECKING:
    from detectors.geometry import ModuleGeometry


@click.command("udp")
@click.argument("address", type=AddressType())
@timeline(rate=100.0)
@click.option(
    "--geometry",
    type=GeometryType(),
    default="jungfrau",
    show_default=True,
    help="What a frame is made of: a name, or a table as in the configuration, in {}.",
)
@click.option(
    "--module-id", type=click.IntRange(0, 0xFFFF), default=0, show_default=True, help="moduleID of the header."
)
@click.option("--row", type=click.IntRange(0, 0xFFFF), default=0, show_default=True, help="Row of the header (xCoord).")
@click.option("--column", type=click.IntRange(0, 0xFFFF), default=0, show_default=True, help="Column (yCoord).")
@click.option("--number", type=click.IntRange(0, 0xFFFF), help="Module of the pattern.  [default: the moduleID]")
@click.option(
    "--bunchid/--no-bunchid", default=True, help="Send the pulse_id, or 0 as a detector that does not know it."
)
@click.option("--first-frame", default=1, show_default=True, help="frame_index of event 0.")
@click.option("--daq-rec", default=0, show_default=True, help="Value of the debug field.")
@click.option("--loss", default=0.0, show_default=True, help="Fraction of packets that are not sent.")
@click.option("--duplicate", default=0.0, show_default=True, help="Fraction of packets that are sent twice.")
@click.option("--reorder", default=0.0, show_default=True, help="Fraction of packets that are sent late.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same faults.")
@click.option("--burst", type=click.IntRange(1, 1024), default=32, show_default=True, help="Packets sent in one call.")
def command(
    *,
    address: tuple[str, int],
    start: Start,
    frames: int | None,
    seconds: float | None,
    geometry: "ModuleGeometry",
    loss: float,
    duplicate: float,
    reorder: float,
    **fields: Any,
) -> None:
    """Send one UDP module's packets to ADDRESS."""
    from sim.faults import FaultRates
    from sim.udp_module import UdpModuleSender

    sender = UdpModuleSender(
        address,
        geometry,
        start.schedule,
        faults=FaultRates(loss, duplicate, reorder),
        **fields,
    )
    facts = {"address": address, "module_id": fields["module_id"]}
    send(sender, start, facts, frames=frames, seconds=seconds)
