"""Acquisitions of the HDF5 writer: which images get into the file, and what it says of those that do not."""

import time
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np
import pytest

from detectors.errors import CommandError
from tests.support.hdf5 import dataset
from tests.system.test_capture import Bench

NDATTRIBUTES = "entry/instrument/NDAttributes"


@pytest.fixture
def bench(short_runtime_dir: Path, stack: ExitStack) -> Bench:
    return Bench(short_runtime_dir, stack, "")


def columns(path: str, *names: str) -> list[list[int]]:
    with h5py.File(path) as file:
        return [dataset(file, name)[:].ravel().tolist() for name in names]


def test_several_acquisitions_append_to_one_file(bench: Bench) -> None:
    path = bench.ask("capture", file="scan.h5")
    bench.send(1)  # before any acquisition everything is taken
    assert bench.ask("acquire", images=2) == 1
    for pulse_id in (5, 6, 7):  # pulses between acquisitions are not missing; the third image is one too many
        bench.send(pulse_id)
    state = bench.status()["acquisition"]
    assert (state["open"], state["taken"], state["good"], state["number"]) == (False, 2, 2, 1)
    bench.ask("acquire", images=3)
    for pulse_id in (10, 12):
        bench.send(pulse_id)
    assert bench.status()["acquisition"] | {"error": ""} == {
        "number": 2, "open": False, "images": 3, "taken": 3, "good": 2, "damaged": 0, "filled": 1, "lost": 0, "error": "",
    }  # fmt: skip
    bench.ask("release")
    bench.send(20)
    bench.ask("finish")
    tree = bench.until(lambda s: s["state"] == "Idle")
    assert tree["balance"] == "not complete: 7 images, 0 damaged, 1 filled, 0 lost"
    pulses, good = columns(path, "data/JF/pulse_id", f"{NDATTRIBUTES}/IsGood")
    assert pulses == [1, 5, 6, 10, 11, 12, 20]
    assert good == [1, 1, 1, 1, 0, 1, 1]
    with h5py.File(path) as file:
        found = {name: int(file["entry"].attrs[name]) for name in ("images", "damaged", "filled", "lost", "complete")}
    assert found == {"images": 7, "damaged": 0, "filled": 1, "lost": 0, "complete": 0}
    assert bench.check_balance()["output"]["disabled"] == 1


def test_images_that_arrived_before_an_acquisition_do_not_belong_to_it(bench: Bench) -> None:
    path = bench.ask("capture", file="scan.h5")
    old_ns = time.time_ns()
    bench.ask("acquire", images=1)
    bench.send(3, timestamp_ns=old_ns)
    assert bench.status()["acquisition"]["taken"] == 0
    bench.send(4, timestamp_ns=time.time_ns())
    bench.until(lambda s: not s["acquisition"]["open"])
    bench.ask("finish")
    bench.until(lambda s: s["state"] == "Idle")
    assert columns(path, "data/JF/pulse_id") == [[4]]
    bench.check_balance()


def test_a_damaged_image_is_taken_and_flagged(bench: Bench) -> None:
    path = bench.ask("capture", file="scan.h5")
    bench.ask("acquire", images=2)
    bench.send(1, n_recv_packets=3, missing=b"\x04" + bytes(63))
    bench.send(2)
    bench.ask("finish")
    tree = bench.until(lambda s: s["state"] == "Idle")
    assert (tree["damaged"], tree["acquisition"]["damaged"]) == (1, 1)
    good, missing = columns(path, "data/JF/is_good_frame", f"{NDATTRIBUTES}/PacketsMissing")
    assert (good, missing) == ([0, 1], [1, 0])
    with h5py.File(path) as file:
        masks = dataset(file, "data/JF/missing_packets")[:]
    assert masks[0, 0, 0] == 4
    assert masks.sum() == 4


@pytest.mark.parametrize(("bad", "reason"), [("gap", "no image of pulse 2"), ("damage", "pulse 3 is damaged")])
def test_the_first_loss_ends_an_acquisition_that_is_to_fail(bench: Bench, bad: str, reason: str) -> None:
    path = bench.ask("capture", file="scan.h5")
    bench.ask("acquire", images=5, on_loss="fail")
    bench.send(1)
    if bad == "damage":
        bench.send(2)
    bench.send(3, n_recv_packets=3 if bad == "damage" else 4)
    bench.send(4)
    state = bench.status()["acquisition"]
    assert reason in state["error"]
    assert not state["open"]
    bench.ask("finish")
    bench.until(lambda s: s["state"] == "Idle")
    assert columns(path, "data/JF/pulse_id") == [[1] if bad == "gap" else [1, 2, 3]]
    bench.check_balance()


def test_images_that_never_come_are_filled_after_a_time(bench: Bench) -> None:
    path = bench.ask("capture", file="scan.h5")
    bench.ask("acquire", images=3, image_timeout_s=0.5)
    bench.send(7)
    tree = bench.until(lambda s: not s["acquisition"]["open"])
    assert tree["acquisition"]["filled"] == 2
    assert bench.ask("flush") is None
    assert bench.status()["captured"] == 3
    bench.ask("finish")
    bench.until(lambda s: s["state"] == "Idle")
    assert columns(path, "data/JF/pulse_id", f"{NDATTRIBUTES}/PacketsMissing") == [[7, 8, 9], [0, 8, 8]]


def test_a_flush_shows_a_reader_everything(bench: Bench) -> None:
    path = bench.ask("capture", file="scan.h5", metadata={"count_time": 0.5})
    with h5py.File(path, "r", swmr=True) as file:
        for pulse_id in range(1, 20):
            bench.send(pulse_id)
            bench.ask("flush")
            pulses = dataset(file, "data/JF/pulse_id")
            pulses.refresh()
            assert len(pulses) == pulse_id
        assert dataset(file, "entry/instrument/detector/count_time")[()] == 0.5
    bench.ask("finish")


def test_a_flush_without_a_capture_is_answered(bench: Bench) -> None:
    assert bench.ask("flush") is None


def test_wrong_attributes_and_rules_are_refused(bench: Bench) -> None:
    with pytest.raises(CommandError, match="not XML"):
        bench.ask("capture", file="a.h5", attributes=["<Attributes>"])
    with pytest.raises(CommandError, match="expected one of none, bslz4, blosc, lz4, zlib"):
        bench.ask("capture", file="a.h5", compression="zip")
    with pytest.raises(CommandError, match="on_loss"):
        bench.ask("acquire", on_loss="cry")
    assert bench.status()["acquisition"]["number"] == 0


def test_folders_are_made_as_deep_as_allowed(bench: Bench, short_runtime_dir: Path) -> None:
    with pytest.raises(CommandError, match="is not a folder"):
        bench.ask("folder", folder=f"{short_runtime_dir}/a/b")
    with pytest.raises(CommandError, match="2 folders"):
        bench.ask("folder", folder=f"{short_runtime_dir}/a/b", create=-1)
    bench.ask("folder", folder=f"{short_runtime_dir}/a/b", create=-2)
    assert (short_runtime_dir / "a/b").is_dir()
    with pytest.raises(CommandError, match="below the roots"):
        bench.ask("folder", folder="/tmp/elsewhere/x", create=-5)
    np.testing.assert_equal(Path("/tmp/elsewhere").exists(), False)


def test_an_acquisition_begins_with_the_first_pulse_that_all_modules_have(bench: Bench) -> None:
    path = bench.ask("capture", file="scan.h5")
    bench.send(1)
    bench.modules[0].send(2)  # the run before ended between the two
    bench.until(lambda s: s["sync"]["missing"] == 1)
    bench.ask("acquire", images=2)
    bench.modules[0].send(5)  # it was enabled first
    time.sleep(0.1)
    for pulse_id in (6, 7):
        bench.send(pulse_id)
    bench.until(lambda s: not s["acquisition"]["open"])
    bench.ask("finish")
    bench.until(lambda s: s["state"] == "Idle")
    assert columns(path, "data/JF/pulse_id", "data/JF/is_good_frame") == [[1, 2, 6, 7], [1, 0, 1, 1]]
    bench.check_balance()
