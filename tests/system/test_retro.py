"""Retroactive files under the soft-IOC: by pulse_id and by time, while a capture runs, and refusals."""

from pathlib import Path

import h5py
import numpy as np

from tests.system.test_ioc_hdf5 import Bench, bench, dataset, image

__all__ = ["bench"]


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
    assert "deleted by retention" in ioc.value("Retro:Message_RBV")
    assert not (bench.folder / "files" / "gone.h5").exists()
