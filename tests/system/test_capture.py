"""The writer of live images as a process of its own, between modules that this test plays and a reader that follows."""

import os
from contextlib import ExitStack
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
import zmq

from detectors.errors import CommandError
from detectors.stats import CaptureStatus
from tests.support.balance import imbalance
from tests.support.hdf5 import dataset
from tests.support.process import WorkerProcess
from tests.support.two_modules import STREAMED, pattern_image, play_modules

assert hdf5plugin.FILTERS  # imported for the filters that it registers


class Bench(WorkerProcess):
    """A running writer and the modules that it gathers from."""

    def __init__(self, folder: Path, stack: ExitStack, more: str) -> None:
        prefix = f"T{os.getpid()}:"
        text = STREAMED.format(prefix=prefix, folder=folder, more=f'[hdf5]\nfolder = "{folder}"\n{more}')
        (folder / "config.toml").write_text(text)
        super().__init__(prefix, "hdf5", "capture", str(folder / "config.toml"))
        stack.enter_context(self.ready())
        self.context = zmq.Context()
        stack.callback(self.context.destroy, linger=0)
        self.modules = play_modules(stack, self.runtime, self.context)
        for module in self.modules:
            module.wait_for_subscriber(module.notify)

    def send(self, pulse_id: int, **changes: object) -> None:
        """Send one pulse, module 0 with ``changes`` in its head, and wait until it has its fate: the ring of these modules is short."""
        before = self.status()["images"]["matched"]
        self.modules[0].send(pulse_id, **changes)
        self.modules[1].send(pulse_id)
        self.until(lambda s: s["images"]["matched"] == before + 1)

    def check_balance(self) -> dict:
        tree = self.until(lambda s: s["output"]["queued"] == 0)
        assert not imbalance(CaptureStatus, tree)
        return tree

    def stop(self) -> None:
        assert self.end() == 0


def test_a_capture_that_is_followed_and_one_that_is_finished(short_runtime_dir, stack):
    bench = Bench(short_runtime_dir, stack, 'on_loss = "fill"\n')
    bench.send(1)  # before any capture: counted, not written
    path = bench.ask("capture", file="{detector}_{number:03}.h5", images=6)
    assert path == f"{short_runtime_dir}/JF_001.h5"
    with pytest.raises(CommandError, match="still being written"):
        bench.ask("capture", file="other.h5")
    for pulse_id in (2, 3):
        bench.send(pulse_id)
    bench.until(lambda s: s["captured"] == 2)
    with h5py.File(path, "r", swmr=True) as file:
        assert dataset(file, "data/JF/pulse_id")[:, 0].tolist() == [2, 3]
        for pulse_id in (4, 6, 7, 8):  # 5 is missing and filled in; 8 comes when all are there
            bench.send(pulse_id)
        bench.until(lambda s: s["state"] == "Idle")
        for name in ("pulse_id", "data", "is_good_frame"):
            dataset(file, f"data/JF/{name}").refresh()
        assert dataset(file, "data/JF/pulse_id")[:, 0].tolist() == [2, 3, 4, 5, 6, 7]
        assert dataset(file, "data/JF/is_good_frame")[:, 0].tolist() == [1, 1, 1, 0, 1, 1]
        for row, pulse_id in enumerate((2, 3, 4, 5, 6, 7)):
            image = dataset(file, "entry/data/data")[row]
            np.testing.assert_array_equal(image, pattern_image(pulse_id) if pulse_id != 5 else 0)
    tree = bench.check_balance()
    assert (tree["captured"], tree["filled"], tree["output"]["written"], tree["output"]["disabled"]) == (6, 1, 5, 2)
    path = bench.ask("capture", file="second.h5")
    bench.send(9)
    assert bench.ask("finish") == path
    tree = bench.until(lambda s: s["state"] == "Idle")
    assert (tree["captures"], tree["captured"]) == (2, 1)
    assert bench.check_balance()["output"]["written"] == 6
    bench.stop()


def test_a_range_of_pulses_compressed(short_runtime_dir, stack):
    bench = Bench(short_runtime_dir, stack, 'compression = "bslz4"\n')
    path = bench.ask("capture", file="range.h5", start=10, stop=20, step=5)
    for pulse_id in range(8, 23):
        bench.send(pulse_id)
    bench.until(lambda s: s["state"] == "Idle")
    with h5py.File(path) as file:
        assert dataset(file, "data/JF/pulse_id")[:, 0].tolist() == [10, 15, 20]
        np.testing.assert_array_equal(dataset(file, "data/JF/data")[2], pattern_image(20))
    bench.check_balance()
    bench.stop()


def test_what_is_being_captured_is_whole_when_the_writer_is_stopped(short_runtime_dir, stack):
    bench = Bench(short_runtime_dir, stack, "")
    path = bench.ask("capture", file="cut.h5")
    for pulse_id in range(1, 6):
        bench.send(pulse_id)
    bench.stop()
    with h5py.File(path) as file:
        assert dataset(file, "data/JF/pulse_id")[:, 0].tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"file": "{nonsense}.h5"}, "expected at most {detector} and {number}"),
        ({"file": "nowhere/a.h5"}, "cannot be made"),
        ({"file": "a.h5", "images": -1}, "images: found -1"),
    ],
)
def test_wrong_captures_are_refused(short_runtime_dir, stack, arguments, message):
    bench = Bench(short_runtime_dir, stack, "")
    with pytest.raises(CommandError, match=message):
        bench.ask("capture", **arguments)
    with pytest.raises(CommandError, match="no capture is running"):
        bench.ask("finish")
    assert bench.status()["state"] == "Idle"
    bench.stop()
