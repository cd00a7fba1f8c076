"""Retroactive files under the soft-IOC: by pulse_id and by time, while a capture runs, and refusals."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from detectors.buffer.reader import BufferReader
from tests.support.hdf5 import dataset
from tests.system.test_ioc_hdf5 import Bench, bench, image

__all__ = ["bench"]

PAUSE_S = 1.0
"""Between two bursts, s."""

pytestmark = pytest.mark.long


def test_what_is_on_disk_becomes_a_file_by_pv(bench: Bench) -> None:
    ioc = bench.ioc
    pulses = bench.send(10)
    ioc.until("Retention:Files_RBV", lambda files: files >= 2)
    ioc.put("Retro:Start", pulses[2])
    ioc.put("Retro:Stop", pulses[6])
    ioc.put("Retro:Write", 1)
    assert (ioc.value("Retro:WriteStatus_RBV"), ioc.value("Retro:Message_RBV")) == ("Idle", "")
    assert ioc.value("Retro:NumImages_RBV") == 5
    path = Path(ioc.value("Retro:FullFileName_RBV"))
    assert path == bench.folder / "files" / "retro.h5"
    with h5py.File(path) as file:
        np.testing.assert_array_equal(dataset(file, "entry/data/data")[4], image(pulses[6]))


def test_seconds_before_now_while_a_capture_runs(bench: Bench) -> None:
    ioc = bench.ioc
    bench.setting(FileName="beside", NumCapture=10)
    ioc.put("HDF1:Capture", 1, wait=False)
    ioc.until("HDF1:State_RBV", "Waiting")
    for name, value in {"Start": -60.0, "Stop": 0.0, "FileName": "recent", "Mode": 1}.items():
        ioc.put(f"Retro:{name}", value)
    ioc.put("Retro:Write", 1)
    assert ioc.value("Retro:NumImages_RBV") == 10
    with h5py.File(ioc.value("Retro:FullFileName_RBV")) as file:
        np.testing.assert_array_equal(dataset(file, "entry/data/data")[9], image(10))
    bench.send(10)
    ioc.until("HDF1:Capture_RBV", "Done")
    assert ioc.value("HDF1:NumCaptured_RBV") == 10


def test_what_cannot_be_made_says_why(bench: Bench) -> None:
    ioc = bench.ioc
    ioc.put("Retro:FilePath", "/etc", wait=False)
    ioc.until("Message_RBV", lambda text: "below the roots" in text)
    assert ioc.value("Retro:FilePath_RBV") == f"{bench.folder}/files/"
    for name, value in {"Start": 500_000, "Stop": 500_010, "FileName": "gone"}.items():
        ioc.put(f"Retro:{name}", value)
    ioc.put("Retro:Write", 1, wait=False)
    ioc.until("Retro:WriteStatus_RBV", "Failed")
    ioc.until("Retro:Message_RBV", lambda text: "deleted by retention" in text)
    assert not (bench.folder / "files" / "gone.h5").exists()


def test_a_part_of_the_buffer_by_seconds_has_exactly_what_came_then(bench: Bench) -> None:
    ioc = bench.ioc
    bursts = []
    for _ in range(3):
        bursts.append(bench.send(5))
        time.sleep(PAUSE_S)
    ioc.until("M01:Disk:Written_RBV", lambda _: came(bench, bursts[2][-1]) > 0)
    begins, ends = (came(bench, burst[-1]) + PAUSE_S / 2 for burst in bursts[:2])
    now = time.time()
    for name, value in {"FileName": "burst", "Mode": 0, "Start": begins - now, "Stop": ends - now}.items():
        ioc.put(f"Retro:{name}", value)
    ioc.put("Retro:Write", 1)
    assert (ioc.value("Retro:Message_RBV"), ioc.value("Retro:NumImages_RBV")) == ("", 5)
    with h5py.File(ioc.value("Retro:FullFileName_RBV")) as file:
        assert dataset(file, "data/DET/pulse_id")[:, 0].tolist() == bursts[1]
        np.testing.assert_array_equal(dataset(file, "entry/data/data")[0], image(bursts[1][0]))


def test_images_that_arrive_meanwhile_are_all_kept(bench: Bench) -> None:
    ioc = bench.ioc
    bench.setting(FileName="meanwhile", NumCapture=80)
    ioc.put("HDF1:Capture", 1, wait=False)
    ioc.until("HDF1:State_RBV", "Waiting")
    for name, value in {"Start": -60.0, "Stop": 0.0, "Mode": 1}.items():
        ioc.put(f"Retro:{name}", value)
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(bench.send, 80)
        ioc.until("HDF1:NumCaptured_RBV", lambda images: images > 0)
        made = 0
        while not sent.done():
            made += 1
            ioc.put("Retro:FileName", f"meanwhile{made}")
            ioc.put("Retro:Write", 1)
            assert ioc.value("Retro:NumImages_RBV") > 0
        pulses = sent.result()
    assert made > 0
    ioc.until("HDF1:Capture_RBV", "Done")
    with h5py.File(ioc.value("HDF1:FullFileName_RBV")) as file:
        assert dataset(file, "data/DET/pulse_id")[:, 0].tolist() == pulses
        assert dataset(file, "data/DET/is_good_frame")[:, 0].all()
    assert ioc.value("HDF1:DroppedArrays_RBV") == 0
    for name in ("M00", "M01"):
        ioc.until(f"{name}:Disk:Written_RBV", pulses[-1])  # every pulse from the first


def came(bench: Bench, pulse_id: int) -> float:
    """When a pulse came, by its sidecar, s since 1970; 0: it is not on disk yet."""
    with BufferReader(bench.folder / "data" / "DET") as reader:
        entry = reader.sidecar(pulse_id, "M00")
    return 0.0 if entry is None else int(entry["timestamp_ns"]) / 1e9
