"""The page of PVs: every record of ``examples/both.toml`` and of the hosts of another example, read from the templates."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from detectors.config import load_config
from detectors.worker_names import KEEPER
from ioc.record_text import RecordText, records
from ioc.templates import Load, loads

ROOT: Final = Path(__file__).resolve().parents[2]
EXAMPLE: Final = ROOT / "examples" / "both.toml"
WITH_HOSTS: Final = ROOT / "examples" / "hosts.toml"

_TITLES: Final = {
    "": "The server",
    "udp": "UDP modules",
    "pva": "PvMonitors",
    "Stream": "Live images",
    "cam1": "The detector by areaDetector's names",
    "HDF1": "HDF5",
    "Retro": "HDF5 files of what is on disk",
    "Pva1": "Images over PV Access",
    "image1": "An image over Channel Access",
    "Web": "The page in the browser",
    "host": "Hosts",
    KEEPER: "Retention on a host",
}
"""Headings by the kind of source, or by the record part, that a record belongs to."""

_HEAD: Final = """\
# The PVs

Written by `python docs/tools/make_reference.py` from `db/*.template`, for `examples/both.toml` and the hosts of
`examples/hosts.toml`: change those, not this page.

Every record is served over Channel Access and PV Access. A server with a single detector has its records `cam1:`, `HDF1:`, `Pva1:`,
`image1:` and `Retro:` right behind the prefix (`DAQ:BOTH:cam1:Acquire`); this one has two, each with records of its own. A name with braces stands for one PV of each source in them. `_RBV` is
a reading; a name without it is a setpoint, which shows the value in force, also after a refused write. How clients read and write
the long texts (`waveform`) is in [Read and write the PVs](../how-to/clients.md). Alarms are those of the record itself; all become INVALID when
the worker behind them is gone. Readings of a frame (pulse id, frame number, uniqueId, time difference, latency) have the time
stamp of the data, all others that of the change. `PulseIdText_RBV` has all digits of a pulse id, which `caget` shows as a float.
"""


def page() -> str:
    """Return the page."""
    return _page(shown())


def shown() -> list[Load]:
    """Return the templates whose records are on the page."""
    of_hosts = [load for load in loads(load_config(WITH_HOSTS)) if _kind(load) in ("host", KEEPER)]
    return [*loads(load_config(EXAMPLE)), *of_hosts]


def _kind(load: Load) -> str:
    """Return the first word of the worker whose records a template has, or of what stands for it."""
    return load.macros.get("W", "").partition(".")[0]


def _page(templates: Iterable[Load]) -> str:
    sources: dict[str, list[str]] = {}
    rows: dict[str, dict[str, RecordText]] = {}
    for load in templates:
        name = load.macros.get("R", ":")[:-1]
        kind = _kind(load)
        kind = kind if kind in ("udp", "pva", "host", KEEPER) else name.rpartition(":")[2]
        if name not in sources.setdefault(kind, []):
            sources[kind].append(name)
        # Sources of one kind have the same records but for their name.
        for record in records(load, {**load.macros, "R": "<source>:", "S": "<source>", "W": "<worker>"}):
            rows.setdefault(kind, {}).setdefault(record.name, record)
    parts = [_HEAD]
    for kind, found in rows.items():
        names = sources[kind]
        pattern = names[0] if len(names) == 1 else "{" + ",".join(names) + "}"
        parts.append(f"## {_TITLES.get(kind, kind)}\n")
        parts.append("| PV | type | unit or choices | what | alarm |\n|---|---|---|---|---|")
        parts += [_row(record, record.name.replace("<source>", pattern)) for record in found.values()]
        parts.append("")
    return "\n".join(parts)


def _row(record: RecordText, name: str) -> str:
    what = record.fields.get("DESC", "").removeprefix("<source>").removeprefix(":").strip()
    cells = (f"`{name}`", record.kind, record.unit, what[:1].upper() + what[1:], record.alarm)
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
