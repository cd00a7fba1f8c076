"""The buffer plan, the reason for every number, and whether it fits."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from detectors.pools.host_memory import Machine
from detectors.pools.sizing import PROCESS_BYTES, BufferPlan, BufferSize, size_text

PLAIN_WIDTH: Final = 150
"""Columns when the output is no terminal."""

_RMEM_MAX: Final = Path("/proc/sys/net/core/rmem_max")


def as_dict(plans: dict[str, BufferPlan], machine: Machine) -> dict[str, Any]:
    """Return the plans as JSON shows them; sizes that are not known are null.

    ``fits`` is the same for all sources: they share the machine.
    """
    fits = not machine.shortage(list(plans.values()))

    def figures(size: BufferSize) -> dict[str, Any]:
        return {
            "count": size.count,
            "size_bytes": size.size_bytes or None,
            "total_bytes": size.total_bytes or None,
            "why": size.why,
        }

    return {
        name: {
            "dma": figures(plan.dma),
            "pebble": figures(plan.pebble),
            **({"transition": figures(plan.transition)} if plan.transition else {}),
            "fits": fits,
        }
        for name, plan in plans.items()
    }


def show(console: Console, plans: Sequence[BufferPlan], machine: Machine) -> None:
    """Print a table for each source, what the machine has, and whether it is enough."""
    for plan in plans:
        payload = "unknown" if plan.payload_bytes is None else f"{plan.payload_bytes:,} bytes"
        console.print(_table(f"{plan.source}: payload {payload}", plan))
    console.print(
        f"Machine: {size_text(machine.mem_available)} of memory available, "
        f"{size_text(machine.shm_free)} free in /dev/shm{_rmem_max()}.",
    )
    console.print(
        "Resident memory of each worker, buffers (but for a kernel's) and "
        f"{size_text(PROCESS_BYTES)} of the process itself: {', '.join(map(_resident, plans))}.",
    )
    unknown = [plan.source for plan in plans if plan.payload_bytes is None]
    at_least = "at least " if unknown else ""
    needed = (
        f"{at_least}{size_text(sum(p.memory_bytes for p in plans))} of memory, "
        f"{at_least}{size_text(sum(p.pebble.memory_bytes for p in plans))} of it in /dev/shm"
    )
    advice = machine.advice(plans)
    if advice:
        console.print(f"[bold red]Does not fit[/]: {escape(advice)}.")
    else:
        console.print(f"[bold green]Fits[/]: needs {needed}.")
    if unknown:
        console.print(f"Not known before the PV is connected: {', '.join(unknown)}.")


def _table(title: str, plan: BufferPlan) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", show_lines=True)
    for heading in ("Buffer Type", "Component", "Set By", "Size", "Notes"):
        table.add_column(heading, no_wrap=heading == "Size", overflow="fold")
    for name, size in (("DMA", plan.dma), ("Pebble", plan.pebble), ("Transition", plan.transition)):
        if size:
            row = (
                f"{name} Buffers",
                size.component,
                size.set_by,
                _product(size),
                "\n".join((size.notes, *size.why.split("; "))),
            )
            table.add_row(*map(escape, row))
    return table


def _resident(plan: BufferPlan) -> str:
    known = "unknown" if plan.payload_bytes is None else size_text(plan.resident_bytes)
    return f"{escape(plan.source)} {known}"


def _product(size: BufferSize) -> str:
    if not size.size_bytes:
        return f"{size.count} x unknown"
    return f"{size.count} x {size_text(size.size_bytes)} = {size_text(size.total_bytes)}"


def _rmem_max() -> str:
    """Return what the kernel grants a socket without CAP_NET_ADMIN, as the end of a sentence."""
    try:
        granted = int(_RMEM_MAX.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return ""
    return f"; net.core.rmem_max {size_text(granted)}: a larger socket buffer needs CAP_NET_ADMIN"
