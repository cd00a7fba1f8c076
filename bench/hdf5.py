"""Rows: HDF5 from the binary buffer, against cp of the same bytes, h5py's defaults and one-thread hdf5plugin."""

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np

from detectors.buffer.detector_json import register_module
from detectors.buffer.layout import file_bytes, relative_path
from detectors.buffer.reader import BufferReader
from detectors.frame import RECORD_HEADER, RecordShape
from detectors.outputs.hdf5.copy import write_file
from detectors.outputs.hdf5.selection import PulseRange
from detectors.outputs.hdf5.view import write_view

SHAPE = (512, 1024)
FRAME_BYTES = 2 * 512 * 1024
REPEATS = 3


@contextmanager
def buffer(frames: int, modules: int) -> Iterator[BufferReader]:
    """Make a JUNGFRAU buffer of noise (compressible as raw frames are: about 2x) on the disk of the working folder."""
    folder = Path(tempfile.mkdtemp(prefix="bench-hdf5-", dir=os.environ.get("BENCH_FOLDER", ".")))
    detector = folder / "JF"
    shape = RecordShape(FRAME_BYTES)
    noise = np.random.default_rng(1)
    head = np.zeros((), RECORD_HEADER)
    try:
        for m in range(modules):
            name = f"M{m:02}"
            path = detector / name / relative_path(0)
            path.parent.mkdir(parents=True)
            register_module(detector, name, data_bytes=FRAME_BYTES, dtype="uint16", shape=SHAPE)
            pixels = [noise.normal(3000, 30, SHAPE).astype("<u2") for _ in range(8)]
            with path.open("wb") as file:
                for pulse_id in range(frames):
                    head["marker"] = 0xBE
                    head["frame"] = (pulse_id, pulse_id, 0, 128, m)
                    file.write(head.tobytes())
                    file.write(pixels[pulse_id % 8])
                file.truncate(file_bytes(shape))
        yield BufferReader(detector)
    finally:
        shutil.rmtree(folder)


def _seconds(work: Callable[[Path], object], folder: Path) -> float:
    """Return the median time of ``work`` on a path that is not there."""
    took = []
    for n in range(REPEATS):
        path = folder / f"out-{n}"
        start = time.perf_counter()
        work(path)
        took.append(time.perf_counter() - start)
        path.unlink()
    return statistics.median(took)


def _defaults(reader: BufferReader, count: int, path: Path, **options: object) -> None:
    """Write as one writes without thinking: image by image, into a resizable dataset of h5py's own chunks."""
    rows = len(reader.modules) * SHAPE[0]
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "data", (count, rows, SHAPE[1]), "<u2", **({"maxshape": (None, rows, SHAPE[1])} | options)
        )
        for pulse_id in range(count):
            data[pulse_id] = reader.read_image(pulse_id).data


def rows(frames: int = 400, modules: int = 1) -> list[dict[str, object]]:
    """Return one row a way to write, ratios within this run."""
    nbytes = frames * modules * FRAME_BYTES
    with buffer(frames, modules) as reader:
        pulses = PulseRange(0, frames - 1)
        folder = reader.folder.parent
        source = folder / "source"
        with source.open("wb") as file:  # the same bytes as the images, in one file
            for pulse_id in range(frames):
                file.write(np.ascontiguousarray(reader.read_image(pulse_id).data).data)
        one_chunk = {"chunks": (1, modules * SHAPE[0], SHAPE[1])}
        plugins = {
            "bslz4": hdf5plugin.Bitshuffle(cname="lz4"),
            "blosc": hdf5plugin.Blosc(cname="lz4", clevel=5, shuffle=hdf5plugin.Blosc.SHUFFLE),
        }
        took = {
            "cp": _seconds(lambda p: subprocess.run(["cp", source, p], check=True), folder),
            "none": _seconds(lambda p: write_file(reader, pulses, p), folder),
            "h5py defaults": _seconds(lambda p: _defaults(reader, frames, p), folder),
            "view": _seconds(lambda p: write_view(reader, pulses, p), folder),
        }
        for name, plugin in plugins.items():
            took[name] = _seconds(lambda p, n=name: write_file(reader, pulses, p, compress=n), folder)
            took[f"{name}, one-thread hdf5plugin"] = _seconds(
                lambda p, o=plugin: _defaults(reader, frames, p, **one_chunk, **o), folder
            )
    found: list[dict[str, object]] = []
    for name, seconds in took.items():
        against = {"none": "cp", "bslz4": "bslz4, one-thread hdf5plugin", "blosc": "blosc, one-thread hdf5plugin"}.get(
            name
        )
        found.append(
            {
                "row": f"hdf5 {name}, {modules} module(s)",
                "MB/s": round(nbytes / seconds / 1e6),
                "ms": round(seconds * 1e3, 1),
                "ratio": f"{took[against] / seconds:.2f} x {against}" if against else "",
                "x defaults": round(took["h5py defaults"] / seconds, 1),
            }
        )
    return found


if __name__ == "__main__":
    for modules in (1, 2):
        for row in rows(modules=modules):
            print("  ".join(f"{key} {value}" for key, value in row.items()))
