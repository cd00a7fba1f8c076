"""Fuzz targets: damaged files into the tools that read them. ``make fuzz`` runs each; a tool may only refuse in one line.

``python tests/fuzz/fuzz_files.py TARGET [-max_total_time=S] [-seed=N]``. With atheris the coverage guides it; without, sound
files are damaged at random.
"""

import json
import logging
import math
import os
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[2]))

try:
    import atheris
except ImportError:
    atheris = None

with atheris.instrument_imports(include=["detectors"]) if atheris else nullcontext():
    from detectors.buffer.checks import check_buffer
    from detectors.buffer.data_map import MappedDetector, MappedModule, format_map
    from detectors.buffer.reader import BufferReader
    from detectors.buffer.registration import read_detector
    from detectors.buffer.repair import repair_buffer
    from detectors.config import parse_config
    from detectors.replay.play import replay
    from detectors.replay.udp import find_geometry
    from detectors.verify import verify

import numpy as np

from detectors.errors import PebbleDaqError
from detectors.outputs.hdf5.copy import write_file
from detectors.outputs.hdf5.selection import PulseRange
from detectors.wire.module_packets import ModulePackets
from ioc.reports.read import describe
from tests.unit.buffer.make import RawBuffer

PULSES = (1000, 1001, 1999)
EXAMPLES = Path(__file__).parents[2] / "examples"
Test = Callable[[bytes], None]
Target = Callable[[Path], tuple[Test, list[bytes]]]


class Null:
    """A replay target that sends nothing, and fills the packets all the same."""

    def __init__(self, reader: BufferReader) -> None:
        self._packets = ModulePackets(find_geometry(reader, "jungfrau:2"))

    def ready(self) -> None: ...

    def send(self, image: Any, period_s: float) -> int:
        for frame in filter(None, image.frames):
            self._packets.fill(frame.data, frame.head)
        return 1

    def close(self) -> None: ...


def sound(folder: Path) -> RawBuffer:
    raw = RawBuffer(folder / "DET", shape=(2, 4)).fill(PULSES)
    (raw.folder / "M00" / "LATEST").write_text("0/1000.bin\n")
    text = (raw.folder / "detector.json").read_text().replace('["M00", "M01"]', '["M00"]')
    (raw.folder / "M00" / "module.json").write_text(text)
    return raw


@contextmanager
def refusals() -> Iterator[None]:
    """Let pass what a tool says in one line; its text must be printable."""
    said = ""
    try:
        yield
    except PebbleDaqError as error:
        said = str(error)
    assert len(said.splitlines()) <= 1, said
    assert said.encode(errors="backslashreplace") or not said


def use(folder: Path, out: Path) -> None:
    """Run every tool over a buffer."""
    for finding in (
        lambda: list(check_buffer(BufferReader(folder))),
        lambda: list(repair_buffer(BufferReader(folder))),
    ):
        with refusals():
            assert all(f.message.encode(errors="backslashreplace") for f in finding())
    for pulse in (*PULSES, 5):
        with refusals():
            reader = BufferReader(folder)
            image = reader.read_image(pulse, allow_missing=True)
            reader.is_good(image)
            json.dumps([describe(reader, frame) for frame in image.frames if frame])
    with refusals():
        reader = BufferReader(folder)
        replay(reader, Null(reader), start=0, stop=1 << 62)
    with refusals():
        write_file(BufferReader(folder), PulseRange(0, 5000), out)
    out.unlink(missing_ok=True)


def of_file(name: str) -> Target:
    """Return the target that damages one file of a buffer."""

    def target(folder: Path) -> tuple[Test, list[bytes]]:
        raw = sound(folder / "sound")
        path = folder / "used" / "DET" / name
        whole = (raw.folder / name).read_bytes()

        def test(data: bytes) -> None:
            shutil.rmtree(folder / "used", ignore_errors=True)
            shutil.copytree(folder / "sound", folder / "used")
            path.write_bytes(data)
            use(folder / "used" / "DET", folder / "out.h5")

        return test, [whole]

    return target


def data_map(folder: Path) -> tuple[Test, list[bytes]]:
    raw = sound(folder / "sound")
    path = folder / "map.json"
    modules = tuple(MappedModule(name, Path("sound", "DET", name), "daq1") for name in raw.modules)
    whole = format_map([MappedDetector("DET", modules, read_detector(raw.folder))])

    def test(data: bytes) -> None:
        path.write_bytes(data)
        use(path, folder / "out.h5")

    return test, [whole]


def hdf5(folder: Path) -> tuple[Test, list[bytes]]:
    raw = sound(folder / "sound")
    reader = BufferReader(raw.folder)
    path = folder / "a.h5"
    files: list[bytes] = []
    for compress in ("none", "bslz4"):
        write_file(reader, PulseRange(1000, 1999), path, compress=compress)
        files.append(path.read_bytes())
        path.unlink()

    def test(data: bytes) -> None:
        path.write_bytes(data)
        with refusals(), patch("detectors.outputs.hdf5.checks.PROBE_S", 3.0):
            assert all(f.message.encode(errors="backslashreplace") for f in verify(BufferReader(raw.folder), path))

    return test, files


def config(folder: Path) -> tuple[Test, list[bytes]]:
    def test(data: bytes) -> None:
        with suppress(PebbleDaqError):
            parse_config(data.decode(errors="surrogateescape"), "fuzz.toml")

    return test, [path.read_bytes() for path in sorted(EXAMPLES.glob("*.toml"))]


TARGETS: dict[str, Target] = {
    "detector": of_file("detector.json"),
    "module": of_file("M00/module.json"),
    "records": of_file("M00/0/1000.bin"),
    "sidecar": of_file("M00/0/1000.meta"),
    "latest": of_file("M00/LATEST"),
    "map": data_map,
    "hdf5": hdf5,
    "config": config,
}

WORDS = [
    b"", b"\0", b"\xff" * 8, b"\x00\xff\xfe", b"-1", b"0", b"1e400", b"NaN", b"Infinity", b"null", b"true", b"[]", b"{}", b'""', b'"V8"',
    b"9" * 30, b"9" * 5000, b"[" * 3000, b'"\\ud800"', b"../..", b"18446744073709551615", b'"object"', b"1.5", b'"uint12p"', b'"a,b"',
]  # fmt: skip


def damaged(whole: bytes, rng: random.Random) -> bytes:
    """Return a copy with a few bytes changed, cut, doubled, or numbers and texts replaced."""
    data = bytearray(whole)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        at = rng.randrange(len(data) + 1)
        if rng.random() < 0.5:  # where something is
            filled = np.flatnonzero(np.frombuffer(bytes(data), np.uint8))
            at = int(rng.choice(filled)) if len(filled) else 0
        end = at + rng.choice([1, 1, 2, 4, 8, 100])
        match rng.randrange(6):
            case 0:
                data[at:end] = rng.randbytes(len(data[at:end]))
            case 1:
                data[at:end] = rng.choice(WORDS)
            case 2:
                data[at:end] = b"\xff" * len(data[at:end])
            case 3:
                del data[at:end]
            case 4:
                data[at:at] = data[at:end]
            case _:
                word_end = at
                while word_end < len(data) and data[word_end : word_end + 1] not in b',]}\n"':
                    word_end += 1
                data[at:word_end] = rng.choice(WORDS)
    return bytes(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.1 else data)


def run(test: Test, files: list[bytes], seed: int, *, most: float = math.inf, seconds: float = math.inf) -> int:
    """Run a target on at most so many damaged files, for so long; return how many.

    A failure leaves its file in the working folder.
    """
    rng = random.Random(seed)
    count, end_s = 0, time.monotonic() + seconds
    for data in files:
        test(data)
    while count < most and time.monotonic() < end_s:
        data = damaged(rng.choice(files), rng)
        try:
            test(data)
        except BaseException:
            Path(f"crash-{os.getpid()}").write_bytes(data)
            raise
        count += 1
    return count


def main() -> None:
    name, *options = sys.argv[1:]
    known = dict(option.lstrip("-").split("=") for option in options)
    warnings.simplefilter("error")
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="pebbledaq-fuzz-", dir="/dev/shm") as folder:
        test, files = TARGETS[name](Path(folder))
        if atheris:
            corpus = Path(folder, "corpus")
            corpus.mkdir()
            for n, data in enumerate(files):
                (corpus / str(n)).write_bytes(data)
            atheris.Setup([sys.argv[0], *options, str(corpus)], test)
            atheris.Fuzz()
        else:
            seconds = float(known.get("max_total_time", "60"))
            count = run(test, files, int(known.get("seed", time.time_ns())), seconds=seconds)
            sys.stdout.write(f"{name}: {count} damaged files, none that a tool does not refuse\n")


if __name__ == "__main__":
    main()
