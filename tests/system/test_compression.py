"""One compression for the full stream, HDF5 files and PVs: each read as a stock client reads it, and each image compressed once."""

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
import zmq
from p4p.client.thread import Context

from detectors.runtime_names import RuntimeNames
from detectors.stats import CaptureStatus, ImagesStatus, StreamStatus
from tests.support.balance import imbalance
from tests.support.process import WorkerProcess
from tests.support.stock_bslz4 import read_chunk, read_stream
from tests.support.two_modules import COLS, ROWS, STREAMED, pattern_image, play_modules
from tests.support.waiting import until

assert hdf5plugin.FILTERS  # imported for the filters that it registers

MORE = """
compression = "bslz4"
[hdf5]
folder = "{folder}"
compression = "bslz4"
[images]
image_hz = 1000
codec = "bslz4"
"""
STATUSES = {"stream": StreamStatus, "hdf5": CaptureStatus, "images": ImagesStatus}


class Bench:
    """The three workers, or some of them, and the modules that they gather from."""

    def __init__(self, folder: Path, stack: ExitStack, *workers: str) -> None:
        self.folder, self.stack = folder, stack
        self.prefix = f"T{os.getpid()}:"
        self.config = folder / "config.toml"
        self.config.write_text(STREAMED.format(prefix=self.prefix, folder=folder, more=MORE.format(folder=folder)))
        self.context = zmq.Context()
        stack.callback(self.context.destroy, linger=0)
        self.modules = play_modules(stack, RuntimeNames(self.prefix), self.context)
        for module in self.modules:
            module.notify.setsockopt(zmq.XPUB_VERBOSE, 1)  # each of the workers subscribes
        commands = {"stream": "stream", "hdf5": "capture", "images": "images"}
        self.workers = {
            name: WorkerProcess(self.prefix, name, commands[name], str(self.config)) for name in workers or commands
        }
        for worker in self.workers.values():
            stack.enter_context(worker)
        for worker in self.workers.values():
            worker.ready()
        for module in self.modules:
            for _ in self.workers.keys() & {"stream", "hdf5"}:
                module.wait_for_subscriber(module.notify)

    def consumer(self) -> zmq.Socket:
        socket = self.context.socket(zmq.PULL)
        self.stack.callback(socket.close, linger=0)
        socket.connect(f"ipc://{self.folder}/full")
        self.workers["stream"].until(lambda s: s["full"]["subscribers"] == 1)
        return socket

    def send(self, pulse_id: int) -> None:
        for module in self.modules:
            module.send(pulse_id)

    def capture(self, *, shared: bool = True, **arguments: Any) -> Path:
        path = Path(self.workers["hdf5"].ask("capture", file="a.h5", **arguments))
        if shared:
            self.workers["stream"].until(lambda s: s["compressed"]["subscribers"] == 1)
        return path

    def captured(self, count: int) -> dict[str, Any]:
        """Wait until so many images are in the file, and the writer is at rest."""
        return self.workers["hdf5"].until(lambda s: s["captured"] == count and s["output"]["queued"] == 0)

    def counts(self) -> dict[str, dict[str, Any]]:
        """Return the snapshot of each worker, balanced."""
        found = {name: worker.status() for name, worker in self.workers.items()}
        for name, tree in found.items():
            assert not imbalance(STATUSES[name], tree)
        return found

    def stop(self) -> None:
        for worker in self.workers.values():
            assert worker.end() == 0


def check_file(path: Path, pulses: list[int]) -> None:
    with h5py.File(path) as file:
        assert file["data/JF/pulse_id"][:, 0].tolist() == pulses
        assert file["data/JF/is_good_frame"][:, 0].all()
        for row, pulse_id in enumerate(pulses):
            np.testing.assert_array_equal(file["entry/data/data"][row], pattern_image(pulse_id))


def test_each_image_is_compressed_once_for_the_stream_the_file_and_the_pv(
    short_runtime_dir: Path, own_epics: dict[str, str], stack: ExitStack
) -> None:
    bench = Bench(short_runtime_dir, stack)
    full = bench.consumer()
    path = bench.capture()
    shown: list[Any] = []
    client = stack.enter_context(Context("pva", conf=own_epics, useenv=False, nt=False))
    stack.enter_context(client.monitor(f"{bench.prefix}Pva1:Image", shown.append))
    until(lambda: bench.workers["images"].status()["image"]["clients"], bool)
    until(lambda: shown)  # the empty one that stands for an image until there is one
    pulses = list(range(100, 120))
    chunks: dict[int, bytes] = {}
    for pulse_id in pulses:
        bench.send(pulse_id)
        assert full.poll(5000)
        text, data = full.recv_multipart()
        head = json.loads(text)
        assert (head["pulse_id"], head["compression"]) == (pulse_id, "bslz4")
        np.testing.assert_array_equal(read_chunk(data, head["type"], tuple(head["shape"])), pattern_image(pulse_id))
        chunks[pulse_id] = data
        until(lambda pulse_id=pulse_id: pulse_of(shown[-1]) == pulse_id)
        value = shown[-1]
        assert (value.codec.name, value.codec.parameters, value.uncompressedSize) == ("bslz4", 6, 2 * 2 * ROWS * COLS)
        assert value.compressedSize == value.value.size
        assert value.value.dtype == np.uint8
        shape = tuple(d.size for d in reversed(value.dimension))
        np.testing.assert_array_equal(read_stream(value.value.tobytes(), "uint16", shape), pattern_image(pulse_id))
        bench.captured(len(pulses[: pulses.index(pulse_id) + 1]))
    bench.workers["hdf5"].ask("finish")
    bench.workers["hdf5"].until(lambda s: s["state"] == "Idle")
    check_file(path, pulses)
    with h5py.File(path) as file:
        stored = [file["entry/data/data"].id.read_direct_chunk((row, 0, 0))[1] for row in range(len(pulses))]
    assert stored == list(chunks.values())
    found = bench.counts()
    assert (found["stream"]["compressed"]["written"], found["stream"]["compressed"]["dropped"]) == (len(pulses), 0)
    assert found["stream"]["full"]["written"] == len(pulses)
    for name, shown_images in (("hdf5", len(pulses)), ("images", len(pulses))):
        assert (found[name]["compressed_elsewhere"], found[name]["compressed_here"]) == (shown_images, 0)
    bench.stop()


def pulse_of(value: Any) -> int:
    return next((a.value for a in value.attribute if a.name == "PulseId"), 0)


@pytest.mark.long
def test_a_capture_alone_has_the_stream_compress(short_runtime_dir: Path, stack: ExitStack) -> None:
    bench = Bench(short_runtime_dir, stack, "stream", "hdf5")
    bench.send(1)
    bench.workers["stream"].until(lambda s: s["images"]["assembled"] == 1)
    path = bench.capture()
    for pulse_id in range(2, 12):
        bench.send(pulse_id)
        bench.captured(pulse_id - 1)
    bench.send(12)
    bench.workers["hdf5"].until(lambda s: s["images"]["matched"] == 12)
    assert bench.workers["hdf5"].ask("finish") == str(path)  # after the image that was in step before
    bench.workers["hdf5"].until(lambda s: s["state"] == "Idle")
    bench.workers["stream"].until(lambda s: s["compressed"]["subscribers"] == 0)
    bench.send(13)
    bench.workers["stream"].until(lambda s: s["images"]["assembled"] == 13)
    check_file(path, list(range(2, 13)))
    found = bench.counts()
    assert found["stream"]["compressed"]["written"] == 11
    assert found["stream"]["compressed"]["disabled"] == 2
    assert (found["hdf5"]["compressed_elsewhere"], found["hdf5"]["compressed_here"]) == (11, 0)
    bench.stop()


def _killed(bench: Bench) -> None:
    bench.workers.pop("stream").end(9)


def _switched_off(bench: Bench) -> None:
    bench.workers["stream"].ask("output", output="compressed", enabled=False)


@pytest.mark.long
@pytest.mark.parametrize("disturb", [_killed, _switched_off])
def test_files_do_not_depend_on_the_stream(
    short_runtime_dir: Path, stack: ExitStack, disturb: Callable[[Bench], None]
) -> None:
    bench = Bench(short_runtime_dir, stack, "stream", "hdf5")
    path = bench.capture()
    for pulse_id in range(1, 11):
        if pulse_id == 6:
            disturb(bench)
        bench.send(pulse_id)
        bench.captured(pulse_id)
    bench.workers["hdf5"].ask("finish")
    bench.workers["hdf5"].until(lambda s: s["state"] == "Idle")
    check_file(path, list(range(1, 11)))
    found = bench.counts()["hdf5"]
    assert (found["compressed_elsewhere"], found["compressed_here"]) == (5, 5)
    bench.stop()


@pytest.mark.long
@pytest.mark.parametrize("compression", ["none", "blosc"])
def test_another_compression_is_the_captures_own(short_runtime_dir: Path, stack: ExitStack, compression: str) -> None:
    bench = Bench(short_runtime_dir, stack, "stream", "hdf5")
    path = bench.capture(shared=False, compression=compression)
    for pulse_id in (1, 2, 3):
        bench.send(pulse_id)
        bench.captured(pulse_id)
    bench.workers["hdf5"].ask("finish")
    bench.workers["hdf5"].until(lambda s: s["state"] == "Idle")
    check_file(path, [1, 2, 3])
    found = bench.counts()
    assert found["stream"]["compressed"]["written"] == 0
    assert found["hdf5"]["compressed_elsewhere"] == 0
    assert found["hdf5"]["compressed_here"] == (3 if compression == "blosc" else 0)
    bench.stop()


@pytest.mark.long
@pytest.mark.parametrize("workers", [("images",), ("images", "stream")])
def test_a_pv_compresses_itself_what_nobody_else_does(
    short_runtime_dir: Path, own_epics: dict[str, str], stack: ExitStack, workers: tuple[str, ...]
) -> None:
    bench = Bench(short_runtime_dir, stack, *workers)
    shown: list[Any] = []
    client = stack.enter_context(Context("pva", conf=own_epics, useenv=False, nt=False))
    stack.enter_context(client.monitor(f"{bench.prefix}Pva1:Image", shown.append))
    until(lambda: shown)
    for pulse_id in (1, 2, 3):
        bench.send(pulse_id)
        until(lambda pulse_id=pulse_id: pulse_of(shown[-1]) == pulse_id)
        shape = tuple(d.size for d in reversed(shown[-1].dimension))
        np.testing.assert_array_equal(read_stream(shown[-1].value.tobytes(), "uint16", shape), pattern_image(pulse_id))
    found = bench.counts()
    assert (found["images"]["compressed_elsewhere"], found["images"]["compressed_here"]) == (0, 3)
    bench.stop()
