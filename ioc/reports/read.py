"""What ``read`` says of a pulse."""

from typing import Any, Final

import numpy as np
from rich.table import Table

from detectors.buffer.image import Frame, Image
from detectors.buffer.reader import BufferReader
from detectors.frame import SIDECAR_HAS_CRC, Damage
from ioc.reports.output import console

_PLAIN_WIDTH: Final = 150


def describe(reader: BufferReader, frame: Frame) -> dict[str, Any]:
    """Return what is known of one frame: its metadata, its sidecar entry, and a few figures of its pixels."""
    out: dict[str, Any] = {
        "module_id": frame.head.module_id,
        "frame_index": frame.head.frame_index,
        "daq_rec": frame.head.daq_rec,
        "n_recv_packets": frame.head.n_recv_packets,
        "path": str(reader.path(frame.pulse_id, frame.module)),
        "min": frame.data.min().item(),
        "mean": float(frame.data.mean(dtype=np.float64)),
        "max": frame.data.max().item(),
    }
    entry = reader.sidecar(frame.pulse_id, frame.module)
    if entry is not None:
        missing = np.flatnonzero(np.unpackbits(entry["missing"], bitorder="little"))
        out |= {
            "timestamp_ns": int(entry["timestamp_ns"]),
            "damage": Damage(int(entry["damage"])).name or "",
            "expected_packets": int(entry["expected_packets"]),
            "missing_packets": missing.tolist(),
            "crc32c": f"{int(entry['crc32c']):08x}" if entry["flags"] & SIDECAR_HAS_CRC else None,
        }
    return out


def as_dict(reader: BufferReader, image: Image) -> dict[str, Any]:
    """Return what is known of an image as JSON has it."""
    return {
        "pulse_id": image.pulse_id,
        "detector": reader.data_set.name,
        "shape": list(image.data.shape),
        "dtype": reader.info.dtype,
        "is_good_frame": reader.is_good(image),
        "modules": _modules(reader, image),
        "unreadable": list(image.unreadable),
    }


def show(reader: BufferReader, image: Image) -> None:
    """Print a line of the image and a table of its modules."""
    good = "complete" if reader.is_good(image) else "NOT complete"
    out = console(_PLAIN_WIDTH)
    out.print(f"pulse {image.pulse_id}: {list(image.data.shape)} {reader.info.dtype}, {good}")
    out.print(_table(_modules(reader, image)))
    for reason in image.unreadable:
        out.print(reason, style="red")


def _modules(reader: BufferReader, image: Image) -> dict[str, dict[str, Any] | None]:
    return {
        name: describe(reader, frame) if frame else None
        for name, frame in zip(reader.modules, image.frames, strict=True)
    }


def _table(modules: dict[str, dict[str, Any] | None]) -> Table:
    table = Table(
        "module", "id", "frame_index", "daq_rec", "packets", "missing", "damage", "min", "mean", "max", box=None
    )
    for name, known in modules.items():
        if known is None:
            table.add_row(name, "[red]no record[/]")
            continue
        missing = known.get("missing_packets", [])
        table.add_row(
            name,
            str(known["module_id"]),
            str(known["frame_index"]),
            str(known["daq_rec"]),
            f"{known['n_recv_packets']}/{known.get('expected_packets', '?')}",
            " ".join(map(str, missing[:8])) + (" ..." if len(missing) > 8 else "") or "-",
            known.get("damage") or "-",
            f"{known['min']:g}",
            f"{known['mean']:.6g}",
            f"{known['max']:g}",
        )
    return table
