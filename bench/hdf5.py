"""HDF5 from the binary buffer, against cp of the same bytes, h5py's defaults and hdf5plugin on one thread.

The disk is that of BENCH_FOLDER, by default of the temporary folder. Medians of three.
"""

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

from bench.table import Row, median_ratio
from detectors.buffer.layout import file_bytes, relative_path
from detectors.buffer.reader import BufferReader
from detectors.buffer.registration import DetectorInfo, register_module
from detectors.frame import RECORD_HEADER, RecordShape
from detectors.outputs.hdf5.copy import write_file
from detectors.outputs.hdf5.selection import PulseRange
from detectors.outputs.hdf5.view import write_view

SHAPE = (512, 1024)
FRAME_BYTES = 2 * 512 * 1024
REPEATS = 3
_BOUND_BY_MEMORY = ("cp", "copy")
_ONCE = "h5py's defaults"
"""Takes twenty times as long as ours: one time will do."""

Work = Callable[[Path], object]


@contextmanager
def buffer(frames: int, modules: int) -> Iterator[BufferReader]:
    """Make a JUNGFRAU buffer of noise (compressible as raw frames are: about 2x) on the disk of BENCH_FOLDER."""
    folder = Path(tempfile.mkdtemp(prefix="bench-hdf5-", dir=os.environ.get("BENCH_FOLDER")))
    detector = folder / "JF"
    shape = RecordShape(FRAME_BYTES)
    noise = np.random.default_rng(1)
    head = np.zeros((), RECORD_HEADER)
    try:
        for m in range(modules):
            name = f"M{m:02}"
            path = detector / name / relative_path(0)
            path.parent.mkdir(parents=True)
            register_module(detector, DetectorInfo("uint16", SHAPE, FRAME_BYTES, (name,)))
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


def _seconds(works: dict[str, Work], folder: Path, repeats: int) -> dict[str, list[float]]:
    """Return the times of each way to write, taken in turns so that a busy moment meets all alike."""
    took: dict[str, list[float]] = {name: [] for name in works}
    for n in range(repeats):
        for name, work in works.items():
            if name == _ONCE and n:
                took[name] += took[name][:1]
                continue
            path = folder / "out"
            if name in _BOUND_BY_MEMORY:
                # Once before: a virtual machine gives unused memory back, and who first wants it again waits for it.
                work(path)
                path.unlink()
            start = time.perf_counter()
            work(path)
            took[name].append(time.perf_counter() - start)
            path.unlink()
    return took


def _defaults(reader: BufferReader, count: int, path: Path, **options: object) -> None:
    """Write as one writes without thinking: image by image, into a resizable dataset of h5py's own chunks."""
    rows = len(reader.modules) * SHAPE[0]
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "data", (count, rows, SHAPE[1]), "<u2", **({"maxshape": (None, rows, SHAPE[1])} | options)
        )
        for pulse_id in range(count):
            data[pulse_id] = reader.read_image(pulse_id).data


def _works(reader: BufferReader, frames: int, source: Path) -> dict[str, Work]:
    pulses = PulseRange(0, frames - 1)
    chunks = {"chunks": (1, len(reader.modules) * SHAPE[0], SHAPE[1])}
    bslz4 = hdf5plugin.Bitshuffle(cname="lz4")
    blosc = hdf5plugin.Blosc(cname="lz4", clevel=5, shuffle=hdf5plugin.Blosc.SHUFFLE)
    return {
        "cp": lambda p: subprocess.run(["cp", source, p], check=True),
        "copy": lambda p: write_file(reader, pulses, p),
        "h5py's defaults": lambda p: _defaults(reader, frames, p),
        "bslz4": lambda p: write_file(reader, pulses, p, compress="bslz4"),
        "hdf5plugin bslz4": lambda p: _defaults(reader, frames, p, **chunks, **bslz4),
        "blosc": lambda p: write_file(reader, pulses, p, compress="blosc"),
        "hdf5plugin blosc": lambda p: _defaults(reader, frames, p, **chunks, **blosc),
        "view": lambda p: write_view(reader, pulses, p),
    }


def rows(*, quick: bool) -> Iterator[Row]:
    """Yield the ratios to cp, to h5py's defaults and to hdf5plugin on one thread."""
    frames = 200 if quick else 300
    for modules in (1, 2):
        with buffer(frames, modules) as reader:
            source = reader.folder.parent / "source"
            with source.open("wb") as file:  # the same bytes as the images, in one file
                for pulse_id in range(frames):
                    file.write(np.ascontiguousarray(reader.read_image(pulse_id).data).data)
            took = _seconds(_works(reader, frames, source), reader.folder.parent, 1 if quick else REPEATS)
        mb = frames * modules * FRAME_BYTES / 1e6
        for ours, theirs, target in (
            ("copy", "cp", 0.8),
            ("copy", "h5py's defaults", 2.0),
            ("bslz4", "hdf5plugin bslz4", None),
            ("blosc", "hdf5plugin blosc", None),
        ):
            speed = mb / statistics.median(took[ours])
            yield Row(
                f"{modules} module(s): {ours} against {theirs}",
                median_ratio(took[theirs], took[ours]),
                "x the speed",
                target,
                at_most=False,
                note=f"{speed:.0f} MB/s against {mb / statistics.median(took[theirs]):.0f}",
            )
        milliseconds = statistics.median(took["view"]) * 1e3
        yield Row(f"{modules} module(s): view of {frames} images", milliseconds, "ms")
