"""Captures to HDF5 under the soft-IOC: two simulated modules, a file that is followed while it is written, and refusals."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from tests.support.hdf5 import dataset
from tests.support.ioc_process import IocProcess
from tests.support.ioc_setup import prefix_of, write_config
from tests.support.ports import free_ports
from tests.support.process import run
from tests.support.senders import send_frames
from tests.support.two_modules import pattern_image
from tests.support.waiting import until

assert hdf5plugin.FILTERS  # imported for the filters that it registers

IMAGES = 20
SHAPE = (512, 1024)


class Bench:
    """The IOC, its ports, and the pulse that comes next."""

    def __init__(self, ioc: IocProcess, folder: Path, ports: tuple[int, int]) -> None:
        self.ioc = ioc
        self.folder = folder
        self._ports = ports
        self._next = 1

    def send(self, count: int) -> list[int]:
        """Send so many pulses from both modules; return their ids."""
        first, self._next = self._next, self._next + count
        send_frames(self._ports, count, "--rate", "20", "--first-frame", str(first), "--start", str(first))
        return list(range(first, first + count))

    def setting(self, **values: object) -> None:
        for name, value in values.items():
            self.ioc.put(f"HDF1:{name}", value)
            assert self.ioc.value("Message_RBV") == ""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, runtime_dir: Path) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("hdf5")
    ports = free_ports(2)
    first, second = ports
    config = write_config(folder, ports=(first, second))
    config.write_text(
        f'{config.read_text().split("[[pva]]")[0]}[hdf5]\nfolder = "{folder}/files"\nroots = ["{folder}", "/tmp", "/proc"]\n'
    )
    with IocProcess(prefix_of(config), "-m", "ioc", "run", str(config)) as ioc:
        for name in ("M00:State_RBV", "M01:State_RBV", "HDF1:State_RBV"):
            ioc.until(name, "Idle")
        yield Bench(ioc, folder, (first, second))
        ioc.stop_clean()


def image(pulse_id: int) -> np.ndarray:
    return pattern_image(pulse_id, shape=SHAPE)


@pytest.mark.long
def test_twenty_images_by_pvs_followed_and_verified(bench: Bench) -> None:
    ioc = bench.ioc
    ioc.until("HDF1:FilePathExists_RBV", "Yes")
    ioc.until("HDF1:FilePath_RBV", f"{bench.folder}/files/")
    bench.setting(FileName="run", NumCapture=IMAGES, FileNumber=7, Compression="BSLZ4")
    ioc.put("HDF1:Capture", 1, wait=False)
    ioc.until("HDF1:State_RBV", "Waiting")
    path = Path(ioc.until("HDF1:FullFileName_RBV", lambda v: v))
    assert path == bench.folder / "files" / "run_0007.h5"
    ioc.until("HDF1:FileNumber_RBV", 8)
    ioc.until("HDF1:SWMRActive_RBV", "Active")
    assert ioc.value("HDF1:Capture") == "Capture"
    pulses = bench.send(12)
    ioc.until("HDF1:NumCaptured_RBV", 12)
    with h5py.File(path, "r", swmr=True) as file:
        assert dataset(file, "data/DET/pulse_id")[:, 0].tolist() == pulses
        np.testing.assert_array_equal(dataset(file, "entry/data/data")[11], image(pulses[11]))
        refused = ioc.value("Refused_RBV")
        ioc.put("HDF1:Capture", 1, wait=False)
        ioc.until("Refused_RBV", refused + 1)
        ioc.until("Message_RBV", f"HDF1:Capture: capture: {path} is still being written; finish that first")
        assert ioc.value("HDF1:Capture") == "Capture"
        pulses += bench.send(10)
        ioc.until("HDF1:Capture_RBV", "Done")
        for name in ("pulse_id", "data"):
            dataset(file, f"data/DET/{name}").refresh()
        assert dataset(file, "data/DET/pulse_id")[:, 0].tolist() == pulses[:IMAGES]
        for row, pulse_id in enumerate(pulses[:IMAGES]):
            np.testing.assert_array_equal(dataset(file, "data/DET/data")[row], image(pulse_id))
    ioc.until("HDF1:Capture", "Done")
    ioc.until("HDF1:CaptureBusy", "Done")
    ioc.until("HDF1:NumCaptured_RBV", IMAGES)
    ioc.until("HDF1:WriteStatus_RBV", "Write OK")
    ioc.until("HDF1:Discarded_RBV", 2)
    ioc.until("HDF1:Written_RBV", IMAGES)
    ioc.until("M01:Disk:Written_RBV", len(pulses))
    done = run("verify", str(bench.folder / "data" / "DET"), str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{IMAGES} HDF5 images: 0 findings" in done.stdout


def test_a_put_over_ca_ends_with_the_file(bench: Bench) -> None:
    ioc = bench.ioc
    bench.setting(FileName="ca", NumCapture=0, Compression="None", FileTemplate="%s/%s.h5")
    script = (
        "import epics, threading\n"
        "capture, state = epics.PV(P + 'HDF1:Capture'), epics.PV(P + 'HDF1:State_RBV')\n"
        "assert capture.wait_for_connection(10) and state.wait_for_connection(10)\n"
        "ended = threading.Event()\n"
        "capture.put(1, callback=lambda **k: ended.set())\n"
        "while state.get(as_string=True, use_monitor=False) != 'Waiting': pass\n"
        "print(ended.wait(0.3))\n"
        "epics.caput(P + 'HDF1:Capture', 0)\n"
        "print(ended.wait(20), epics.caget(P + 'HDF1:Capture_RBV'))\n"
        "print(epics.caget(P + 'HDF1:FullFileName_RBV', as_string=True))\n"
        "epics.ca.finalize_libca()\n"
    )
    assert ioc.python(script).split() == ["False", "True", "0", f"{bench.folder}/files/ca.h5"]
    with h5py.File(bench.folder / "files" / "ca.h5") as file:
        assert dataset(file, "data/DET/data").shape == (0, 1024, 1024)


@pytest.mark.parametrize(
    ("record", "value", "message"),
    [
        ("FilePath", "/proc/fs", "cannot be written"),
        ("FilePath", "/tmp/nowhere/at/all", "is not a folder; make it first"),
        ("FilePath", "/etc", "expected a place below the roots"),
        ("FilePath", "files", "expected an absolute path"),
        ("FileName", "../out", "expected a file inside FilePath"),
        ("FileTemplate", "%d.h5", "expected %s for the folder"),
        ("FileTemplate", "%s%s%.999999999d", "each at most 99 wide"),
        ("NumCapture", -1, "found -1, expected 0 to 2147483647"),
        ("PulseStep", 0, "found 0, expected 1 to 2147483647"),
        ("Compression", 7, "found JPEG, expected one of None, zlib, Blosc, BSLZ4, LZ4"),
        ("NumExtraDims", 1, "found 1, expected 0"),
        ("XMLFileName", "layout.xml", "found 'layout.xml', expected ''"),
        ("Compression", 99, "found 99, expected one of None, N-bit, szip, zlib, Blosc, BSLZ4, LZ4, JPEG"),
    ],
)
def test_a_refused_setting_does_not_stay(bench: Bench, record: str, value: object, message: str) -> None:
    before = bench.ioc.value(f"HDF1:{record}")
    assert message in bench.ioc.refused(f"HDF1:{record}", value)
    assert bench.ioc.value(f"HDF1:{record}") == before
    assert bench.ioc.value(f"HDF1:{record}_RBV") == before


def test_the_folder_moves_and_what_is_there_is_not_touched(bench: Bench) -> None:
    ioc, folder = bench.ioc, bench.folder / "moved"
    folder.mkdir()
    (folder / "there.h5").write_text("precious")
    bench.setting(FilePath=str(folder), FileTemplate="%s%s.h5", FileName="there", NumCapture=1)
    ioc.until("HDF1:FilePath_RBV", f"{folder}/")
    assert "is there already" in ioc.refused("HDF1:Capture", 1)
    assert ioc.value("HDF1:Capture") == "Done"
    ioc.until("HDF1:WriteStatus_RBV", "Write error")
    until(lambda: ioc.severity("HDF1:WriteStatus_RBV"), lambda s: s == 2)
    ioc.until("HDF1:WriteMessage_RBV", lambda text: "is there already" in text)
    assert (folder / "there.h5").read_text() == "precious"


@pytest.mark.long
def test_a_range_of_pulses(bench: Bench) -> None:
    ioc = bench.ioc
    first = bench.send(1)[0] + 1
    bench.setting(FileName="range", NumCapture=0, StartPulse=first + 2, StopPulse=first + 9, PulseStep=3)
    ioc.put("HDF1:Capture", 1, wait=False)
    ioc.until("HDF1:State_RBV", "Waiting")
    bench.send(12)
    ioc.until("HDF1:Capture_RBV", "Done")
    with h5py.File(ioc.value("HDF1:FullFileName_RBV")) as file:
        assert dataset(file, "data/DET/pulse_id")[:, 0].tolist() == [first + 2, first + 5, first + 8]
    bench.setting(StartPulse=0, StopPulse=0, PulseStep=1)


def test_a_killed_writer_ends_the_capture_and_comes_back_as_it_was_set(bench: Bench) -> None:
    ioc = bench.ioc
    bench.setting(FileName="killed")
    ioc.put("HDF1:Capture", 1, wait=False)
    ioc.until("HDF1:Capture_RBV", "Capture")
    before = ioc.value("HDF1:Pid_RBV")
    os.kill(before, signal.SIGKILL)
    ioc.until("HDF1:Capture", "Done")
    ioc.until("HDF1:CaptureBusy", "Done")
    ioc.until("HDF1:State_RBV", "Idle")
    ioc.until("HDF1:Pid_RBV", lambda pid: pid not in (0, before))
    ioc.until("HDF1:FilePath_RBV", f"{bench.folder}/moved/")


def test_what_is_being_captured_is_whole_when_the_writer_is_stopped(tmp_path: Path, bench: Bench) -> None:
    ioc = bench.ioc
    bench.setting(FileName="last", FilePath=str(tmp_path), NumCapture=0, StartPulse=0, StopPulse=0, PulseStep=1)
    ioc.put("HDF1:Capture", 1, wait=False)
    ioc.until("HDF1:State_RBV", "Waiting")
    pulses = bench.send(3)
    ioc.until("HDF1:NumCaptured_RBV", 3)
    pid = ioc.value("HDF1:Pid_RBV")
    ioc.put("HDF1:Run", 0)
    until(lambda: Path(f"/proc/{pid}").exists(), lambda there: not there)
    with h5py.File(tmp_path / "last.h5") as file:
        assert dataset(file, "data/DET/pulse_id")[:, 0].tolist() == pulses
    ioc.until("HDF1:State_RBV", "Off")
    ioc.until("HDF1:Capture", "Done")
    assert ioc.refused("HDF1:Capture", 1) == "the HDF5 writer does not run; see HDF1:State_RBV"
    assert ioc.value("HDF1:Capture") == "Done"
