"""HDF5 from the binary buffer, against cp of the same bytes and against h5py as a careful user writes: one chunk an image.

The buffer has sidecars, so pixels are compared with their CRC32C as they are copied, which cp does not do. Copies are of noise, 0.5 GB
from page cache to page cache: each file is removed before the disk has it, so that the rows do not depend on what else the disk does. Ours
checks on a second processor, cp has one. Compressed is what a detector of photons gives: Poisson counts of mean 0.5 with a hundred peaks. A core is a
second of the whole process, user and system time. The disk is that of BENCH_FOLDER, by default of the temporary folder.
"""

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np

from bench.table import Row, median_ratio, spread
from detectors.buffer.layout import file_bytes, relative_path, sidecar_path
from detectors.buffer.reader import BufferReader
from detectors.buffer.registration import DetectorInfo, register_module
from detectors.buffer.sidecar import SidecarFile
from detectors.frame import RECORD_HEADER, FrameHead, RecordShape
from detectors.outputs.hdf5.copy import write_file
from detectors.outputs.hdf5.selection import PulseRange
from detectors.outputs.hdf5.view import write_view

SHAPE = (512, 1024)
FRAME_BYTES = 2 * 512 * 1024
PACKETS = 128
REPEATS = 5
COPIES = 7

COPIED = 480
COMPRESSED = 150
"""Frames of all modules."""

Work = Callable[[Path], object]


@dataclass
class Took:
    """Times of one way to write, s."""

    wall: list[float] = field(default_factory=list[float])
    cpu: list[float] = field(default_factory=list[float])
    size: int = 0
    """Bytes of the file."""


def noise(rng: np.random.Generator) -> np.ndarray:
    """Return a frame of noise, compressible as raw frames are: about 2x."""
    return rng.normal(3000, 30, SHAPE).astype("<u2")


def photons(rng: np.random.Generator) -> np.ndarray:
    """Return a frame of photons: 2.4 bits a pixel when compressed with bslz4."""
    frame = rng.poisson(0.5, SHAPE).astype("<u2")
    distance = np.arange(-2, 3)
    peak = np.exp(-(distance[:, None] ** 2 + distance**2) / 1.5)
    for height in rng.integers(20, 3000, 100):
        row, col = (int(rng.integers(2, n - 2)) for n in SHAPE)
        frame[row - 2 : row + 3, col - 2 : col + 3] += rng.poisson(height * peak).astype("<u2")
    return frame


@contextmanager
def buffer(
    frames: int, modules: int, frame_of: Callable[[np.random.Generator], np.ndarray] = noise
) -> Iterator[BufferReader]:
    """Make a JUNGFRAU buffer, with sidecars, on the disk of BENCH_FOLDER."""
    folder = Path(tempfile.mkdtemp(prefix="bench-hdf5-", dir=os.environ.get("BENCH_FOLDER")))
    detector = folder / "JF"
    rng = np.random.default_rng(1)
    head = np.zeros((), RECORD_HEADER)
    try:
        for m in range(modules):
            name = f"M{m:02}"
            path = detector / name / relative_path(0)
            path.parent.mkdir(parents=True)
            register_module(detector, DetectorInfo("uint16", SHAPE, FRAME_BYTES, (name,)))
            pixels = [frame_of(rng) for _ in range(8)]
            sidecar = SidecarFile(sidecar_path(path))
            with path.open("wb") as file:
                for pulse_id in range(frames):
                    known = FrameHead(pulse_id, pulse_id, 0, PACKETS, m, expected_packets=PACKETS)
                    head["marker"] = 0xBE
                    head["frame"] = known[:5]
                    file.write(head.tobytes())
                    file.write(pixels[pulse_id % 8])
                    sidecar.put(known, pixels[pulse_id % 8].data.cast("B"))
                file.truncate(file_bytes(RecordShape(FRAME_BYTES)))
            sidecar.close()
        yield BufferReader(detector)
    finally:
        shutil.rmtree(folder)


def _measure(works: Mapping[str, Work], path: Path, repeats: int) -> dict[str, Took]:
    """Return the times of each way to write: taken in turns, every other time in reverse, after one that does not count."""
    took = {name: Took() for name in works}
    for n in range(repeats + 1):
        for name in reversed(works) if n % 2 else works:
            before, start = os.times(), time.perf_counter()
            works[name](path)
            seconds, after = time.perf_counter() - start, os.times()
            took[name].size = path.stat().st_size
            path.unlink()
            if n:
                took[name].wall.append(seconds)
                took[name].cpu.append(after.user + after.system - before.user - before.system)
    return took


def _with_h5py(reader: BufferReader, count: int, path: Path, **options: object) -> None:
    """Write as a careful user of h5py does: image by image, each a chunk."""
    shape = (len(reader.modules) * SHAPE[0], SHAPE[1])
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", (count, *shape), "<u2", chunks=(1, *shape), **options)
        for pulse_id in range(count):
            data[pulse_id] = reader.read_image(pulse_id).data


def _same(reader: BufferReader, path: Path) -> None:
    """Check that plain h5py reads the images of the buffer, some of them."""
    with h5py.File(path) as file:
        data = file["data/JF/data"]
        for row in range(0, len(data), 37):
            assert np.array_equal(data[row], reader.read_image(row).data), f"image {row} differs"


def _versus(name: str, gb: float, ours: Took, theirs: Took, target: float | None = None) -> Row:
    """Return the row of two ways to write so many GB."""
    a, b = ours.wall, theirs.wall
    note = (
        f"{gb / statistics.median(a):.2f} against {gb / statistics.median(b):.2f} GB/s, "
        f"ratios {spread(y / x for x, y in zip(a, b, strict=True))}"
    )
    return Row(name, median_ratio(b, a), "x the speed", target, at_most=False, note=note)


def _copies(modules: int, repeats: int) -> Iterator[Row]:
    frames = COPIED // modules
    gb = frames * modules * FRAME_BYTES / 1e9
    pulses = PulseRange(0, frames - 1)
    with buffer(frames, modules) as reader:
        folder = reader.data_set.path.parent
        source, out = folder / "source", folder / "out"
        with source.open("wb") as file:  # the same bytes as the images, in one file
            for pulse_id in range(frames):
                file.write(np.ascontiguousarray(reader.read_image(pulse_id).data).data)
        works: dict[str, Work] = {
            "cp": lambda p: subprocess.run(["cp", source, p], check=True),
            "copy": lambda p: write_file(reader, pulses, p),
            "h5py": lambda p: _with_h5py(reader, frames, p),
        }
        os.sync()  # of the buffer, which is still being written
        took = _measure(works, out, repeats)
        for theirs, target in (("cp", 0.95), ("h5py", 2.0)):
            name = f"{modules} module(s): copy against {theirs}"
            yield _versus(name, gb, took["copy"], took[theirs], target)
        write_file(reader, pulses, out)
        _same(reader, out)
        out.unlink()
        view = _measure({"view": lambda p: write_view(reader, pulses, p)}, out, min(repeats, REPEATS))["view"].wall
        note = f"{spread(1e3 * seconds for seconds in view)} ms"
        yield Row(f"{modules} module(s): view of {frames} images", statistics.median(view) * 1e3, "ms", note=note)


def _compressions(modules: int, repeats: int) -> Iterator[Row]:
    frames = COMPRESSED // modules
    gb = frames * modules * FRAME_BYTES / 1e9
    pulses = PulseRange(0, frames - 1)
    blosc = hdf5plugin.Blosc(cname="lz4", clevel=5, shuffle=hdf5plugin.Blosc.SHUFFLE)
    with buffer(frames, modules, photons) as reader:
        works: dict[str, Work] = {
            "bslz4": lambda p: write_file(reader, pulses, p, compress="bslz4"),
            "h5py bslz4": lambda p: _with_h5py(reader, frames, p, **hdf5plugin.Bitshuffle(cname="lz4")),
            "blosc": lambda p: write_file(reader, pulses, p, compress="blosc"),
            "h5py blosc": lambda p: _with_h5py(reader, frames, p, **blosc),
        }
        out = reader.data_set.path.parent / "out"
        took = _measure(works, out, repeats)
        write_file(reader, pulses, out, compress="bslz4")
        _same(reader, out)
    speeds = [gb / seconds for seconds in took["bslz4"].cpu]
    bits = 16 * took["bslz4"].size / (gb * 1e9)
    name = f"{modules} module(s): bslz4 of photons, a core"
    note = f"{spread(speeds)}; {bits:.1f} bits a pixel in the file"
    yield Row(name, statistics.median(speeds), "GB/s", 1.0, at_most=False, note=note)
    for ours in ("bslz4", "blosc"):
        name = f"{modules} module(s): {ours} against h5py with hdf5plugin"
        yield _versus(name, gb, took[ours], took[f"h5py {ours}"])


def rows(*, quick: bool) -> Iterator[Row]:
    """Yield the ratios to cp and to h5py, and the speed of compression."""
    for modules in (1, 2):
        yield from _copies(modules, 1 if quick else COPIES)
        yield from _compressions(modules, 1 if quick else REPEATS)
