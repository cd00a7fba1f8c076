"""``pebbledaq read``: look at one pulse of the binary buffer."""

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from detectors.buffer.reader import BufferReader, Frame, Image
from detectors.errors import HostError
from detectors.extras import image_codecs
from detectors.frame import SIDECAR_HAS_CRC, Damage
from ioc.cli import arguments
from ioc.cli.buffers import open_buffer

_PLAIN_WIDTH = 150


@click.command("read")
@arguments.folder
@arguments.pulse
@arguments.module
@arguments.output("Write the image as a grey PNG.")
@arguments.as_json
def command(folder: Path, pulse: int, module: str | None, output: Path | None, as_json: bool) -> None:
    """Show what a detector's FOLDER holds of a PULSE."""
    reader = open_buffer(folder, module)
    image = reader.read_image(pulse, allow_missing=True)
    if output:
        write_png(output, image.data)
    modules = {
        name: describe(reader, frame) if frame else None
        for name, frame in zip(reader.modules, image.frames, strict=True)
    }
    if as_json:
        print(json.dumps(_tree(reader, image, modules), indent=1))
        return
    good = "complete" if reader.is_good(image) else "NOT complete"
    console = Console()
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    console.print(f"pulse {pulse}: {list(image.data.shape)} {reader.info.dtype}, {good}", highlight=False)
    console.print(_table(modules))
    for reason in image.unreadable:
        console.print(reason, style="red", highlight=False)


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


def write_png(path: Path, data: np.ndarray) -> None:
    """Write an array as a grey image: the 1st to the 99.9th percentile, flattened to rows. Raises HostError."""
    rows = np.nan_to_num(data.reshape(-1, data.shape[-1]) if data.ndim != 1 else data[None, :]).astype(np.float64)
    low, high = np.percentile(rows, [1, 99.9])
    grey = np.clip((rows - low) / max(high - low, 1e-300) * 255, 0, 255).astype(np.uint8)
    try:
        path.write_bytes(image_codecs().png_encode(grey))
    except OSError as error:
        raise HostError(f"{path}: cannot be written: {error.strerror}") from None


def _tree(reader: BufferReader, image: Image, modules: dict[str, dict[str, Any] | None]) -> dict[str, Any]:
    return {
        "pulse_id": image.pulse_id,
        "detector": reader.folder.name,
        "shape": list(image.data.shape),
        "dtype": reader.info.dtype,
        "is_good_frame": reader.is_good(image),
        "modules": modules,
        "unreadable": list(image.unreadable),
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
