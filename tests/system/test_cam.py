"""Acquisitions by ``cam1:``: two simulated modules, the HDF5 writer, and clients as control rooms have them."""

import os
import signal
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.support.epics_env import epics_variables
from tests.support.hdf5 import dataset
from tests.support.ioc_process import IocProcess
from tests.support.ioc_setup import prefix_of, write_config
from tests.support.ports import free_ports
from tests.support.senders import sending
from tests.support.waiting import until

RATE_HZ = 40
GEOMETRY = "jungfrau-half"
"""Small frames: what is tested is when images count, not how many bytes they have."""

RECORD = """
import sys, time
from p4p.client.thread import Context
import epics
name, seen = P + 'cam1:Acquire_RBV', {'ca': [], 'pva': []}
ca = epics.PV(name, callback=lambda value, **k: seen['ca'].append(int(value)), auto_monitor=epics.dbr.DBE_VALUE)
assert ca.wait_for_connection(10)
context = Context('pva')
subscription = context.monitor(name, lambda v: seen['pva'].append(int(v)))
def settle(count):
    end = time.monotonic() + 20
    while min(map(len, seen.values())) < count and time.monotonic() < end:
        time.sleep(0.01)
settle(1)
for n in range(3):
    started = time.monotonic()
    epics.caput(P + 'cam1:Acquire', 1, wait=True, timeout=20)
    settle(3 + 2 * n)
print(seen['ca'], seen['pva'])
subscription.close(); context.close()
epics.ca.finalize_libca()
"""
"""Three acquisitions of one image, seen by a client of each protocol."""


class Bench:
    """The IOC, and modules that send."""

    def __init__(self, folder: Path, *, roots: Path | None = None) -> None:
        first, second = free_ports(2)
        self.ports = first, second
        self.folder = folder
        self.config = write_config(folder, ports=(first, second))
        text = self.config.read_text().split("[[pva]]")[0].replace("[[udp]]\n", f'[[udp]]\ngeometry = "{GEOMETRY}"\n')
        self.config.write_text(
            f'{text}[hdf5]\nfolder = "{folder}"\nroots = ["{roots or folder}", "{folder}"]\n[run]\nautostart = false\n'
        )
        self.variables = epics_variables()
        self.ioc = self.start()
        self._next = 1

    def start(self) -> IocProcess:
        """The IOC; the same one for clients when it is started again."""
        return IocProcess(prefix_of(self.config), "-m", "ioc", "run", str(self.config), variables=self.variables)

    @contextmanager
    def sending(self, *options: str, rate_hz: int = RATE_HZ) -> Generator[None]:
        """Let both modules send without an end."""
        first, began = self._next, time.monotonic()
        numbers = ["--first-frame", str(first), "--start", str(first), "--geometry", GEOMETRY]
        try:
            with sending(self.ports, "--rate", str(rate_hz), *numbers, *options):
                yield
        finally:
            self._next = first + int((time.monotonic() - began + 1) * rate_hz)

    def set(self, **values: Any) -> None:
        for name, value in values.items():
            self.ioc.put(f"cam1:{name}", value)
            assert self.ioc.value("Message_RBV") == ""
            assert self.ioc.value(f"cam1:{name}_RBV") == self.ioc.value(f"cam1:{name}")

    def begin(self, images: int) -> None:
        """Start an acquisition, and return when it has so many images."""
        self.ioc.put("cam1:Acquire", 1, wait=False)
        self.ioc.until("cam1:Acquire_RBV", "Acquire")
        self.ioc.until("cam1:NumImagesCounter_RBV", lambda n: n >= images)

    def idle(self) -> None:
        for name, value in {"cam1:Acquire_RBV": "Done", "cam1:Acquire": "Done", "HDF1:State_RBV": "Idle"}.items():
            self.ioc.until(name, value)
        self.set(ImageMode="Single", OnLoss="Fill", AcquirePeriod=0.0)

    @contextmanager
    def capturing(self, name: str) -> Generator[Path]:
        """A capture to a file, as a scan has it: until it is ended."""
        for setting, value in {"FileName": name, "FileTemplate": "%s%s.h5", "NumCapture": 0}.items():
            self.ioc.put(f"HDF1:{setting}", value)
        self.ioc.put("HDF1:Capture", 1, wait=False)
        self.ioc.until("HDF1:Capture_RBV", "Capture")
        try:
            yield self.folder / f"{name}.h5"
        finally:
            if self.ioc.value("cam1:Acquire_RBV") == "Acquire":
                self.ioc.put("cam1:Acquire", 0)
            if self.ioc.value("HDF1:Capture_RBV") == "Capture":
                self.ioc.put("HDF1:Capture", 0)

    def ended(self) -> tuple[Any, ...]:
        """How the acquisition ended."""
        names = ("cam1:DetectorState_RBV", "cam1:Acquire_RBV", "cam1:NumImagesCounter_RBV", "HDF1:NumCaptured_RBV")
        return tuple(self.ioc.value(name) for name in names)


@pytest.fixture(scope="module")
def module_bench(tmp_path_factory: pytest.TempPathFactory, runtime_dir: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("cam"))
    with bench.ioc:
        try:
            for name in ("M00:State_RBV", "M01:State_RBV", "HDF1:State_RBV"):
                bench.ioc.until(name, "Idle")
            yield bench
        finally:
            ioc = bench.ioc
            code = ioc.stop()
    assert code == 0
    assert ioc.leftovers() == []


@pytest.fixture
def bench(module_bench: Bench) -> Bench:
    module_bench.idle()
    return module_bench


def pulses(path: Path) -> list[int]:
    with h5py.File(path) as file:
        return dataset(file, "data/DET/pulse_id")[:, 0].tolist()


def test_one_image_is_seen_to_begin_and_to_end(bench: Bench) -> None:
    with bench.sending(), bench.capturing("single") as path:
        assert bench.ioc.python(RECORD).strip() == "[0, 1, 0, 1, 0, 1, 0] [0, 1, 0, 1, 0, 1, 0]"
        assert bench.ended() == ("Idle", "Done", 1, 3)
        bench.ioc.until("cam1:ArrayCounter_RBV", 3)
    found = pulses(path)
    assert len(found) == 3
    assert found == sorted(set(found))


def test_so_many_images_each_time_into_one_file(bench: Bench) -> None:
    bench.set(ImageMode="Multiple", NumImages=10)
    bench.ioc.put("cam1:ArrayCounter", 0)
    with bench.sending(), bench.capturing("multiple") as path:
        for run in (1, 2):
            bench.ioc.put("cam1:Acquire", 1)
            assert bench.ended() == ("Idle", "Done", 10, 10 * run)
            assert bench.ioc.value("RunState_RBV") == "Configured"
        bench.ioc.until("cam1:ArrayCounter_RBV", 20)
    found = pulses(path)
    assert np.diff(found[:10]).tolist() == np.diff(found[10:]).tolist() == [1] * 9
    assert found[10] > found[9] + 1  # those in between belong to neither
    assert bench.ioc.value("cam1:ArraySizeX_RBV") > 0
    assert bench.ioc.value("cam1:DataType_RBV") == "UInt16"


def test_images_until_it_is_stopped(bench: Bench) -> None:
    bench.set(ImageMode="Continuous")
    script = (
        "import epics, threading\n"
        "acquire, count = epics.PV(P + 'cam1:Acquire'), epics.PV(P + 'cam1:NumImagesCounter_RBV')\n"
        "assert acquire.wait_for_connection(10) and count.wait_for_connection(10)\n"
        "ended = threading.Event()\n"
        "acquire.put(1, callback=lambda **k: ended.set())\n"
        "while epics.caget(P + 'cam1:Acquire_RBV', use_monitor=False) != 1: pass\n"
        "while count.get(use_monitor=False) < 20: pass\n"
        "print(ended.is_set())\n"
        "epics.caput(P + 'cam1:Acquire', 0)\n"  # CA lets a second put with completion wait for the first
        "print(ended.wait(20), epics.caget(P + 'cam1:Acquire_RBV', use_monitor=False), acquire.get(use_monitor=False))\n"
        "print(epics.caget(P + 'cam1:DetectorState_RBV', as_string=True))\n"
        "print(count.get(use_monitor=False), int(epics.caget(P + 'HDF1:NumCaptured_RBV')))\n"
        "epics.ca.finalize_libca()\n"
    )
    with bench.sending(), bench.capturing("continuous") as path:
        *words, taken, captured = bench.ioc.python(script).split()
    assert words == ["False", "True", "0", "0", "Idle"]
    assert int(taken) == int(captured) == len(pulses(path)) >= 20
    assert np.diff(pulses(path)).tolist() == [1] * (int(taken) - 1)


def test_a_stop_in_the_middle_aborts_it_and_what_was_taken_is_there(bench: Bench) -> None:
    bench.set(ImageMode="Multiple", NumImages=100_000)
    with bench.sending(), bench.capturing("aborted") as path:
        bench.begin(20)
        bench.ioc.put("cam1:Acquire", 0)
        state, acquiring, taken, captured = bench.ended()
        assert (state, acquiring) == ("Aborted", "Done")
        assert taken == captured >= 20
    assert np.diff(pulses(path)).tolist() == [1] * (taken - 1)


def test_without_a_run_a_stop_is_accepted_at_once(bench: Bench) -> None:
    refused = bench.ioc.value("Refused_RBV")
    bench.ioc.put("cam1:Acquire", 0)
    assert bench.ended()[:2] == (bench.ended()[0], "Done")
    assert bench.ioc.value("Refused_RBV") == refused


def test_both_acquire_records_are_one_acquisition(bench: Bench) -> None:
    bench.set(ImageMode="Multiple", NumImages=100_000)
    with bench.sending():
        bench.ioc.put("Acquire", 1, wait=False)
        bench.ioc.until("cam1:Acquire_RBV", "Acquire")
        bench.ioc.until("cam1:Acquire", "Acquire")
        assert "in progress; stop it first" in bench.ioc.refused("cam1:Acquire", 1)
        assert bench.ioc.value("cam1:Acquire") == "Acquire"
        bench.ioc.put("cam1:Acquire", 0)
        assert bench.ioc.value("Acquire") == "Done"
        assert bench.ended()[:2] == ("Idle", "Done")


def test_no_images_are_refused(bench: Bench) -> None:
    bench.set(ImageMode="Multiple", NumImages=0)
    assert "found NumImages 0" in bench.ioc.refused("cam1:Acquire", 1)
    assert bench.ioc.value("cam1:Acquire") == "Done"


def test_with_fill_every_loss_has_its_place(bench: Bench) -> None:
    bench.set(ImageMode="Multiple", NumImages=40, AcquirePeriod=1 / RATE_HZ)
    with bench.sending("--loss", "0.003"), bench.capturing("filled") as path:
        bench.ioc.put("cam1:Acquire", 1)
        assert bench.ended() == ("Idle", "Done", 40, 40)
        damaged, filled = bench.ioc.value("cam1:NumDamaged_RBV"), bench.ioc.value("cam1:NumFilled_RBV")
        assert damaged > 0
        assert bench.ioc.value("cam1:NumLost_RBV") == 0
    found = pulses(path)
    assert np.diff(found).tolist() == [1] * 39
    with h5py.File(path) as file:
        good = dataset(file, "data/DET/is_good_frame")
        assert np.count_nonzero(good[:, 0] == 0) == damaged + filled


def test_with_fail_a_loss_ends_it_with_the_reason(bench: Bench) -> None:
    bench.set(ImageMode="Multiple", NumImages=100_000, OnLoss="Fail")
    with bench.sending("--loss", "0.003"), bench.capturing("failed") as path:
        bench.ioc.put("cam1:Acquire", 1)
        state, acquiring, taken, captured = bench.ended()
        assert (state, acquiring) == ("Error", "Done")
        reason = bench.ioc.value("cam1:StatusMessage_RBV")
        assert "pulse" in reason
        until(lambda: bench.ioc.severity("cam1:DetectorState_RBV"), lambda severity: severity == 2)
        assert bench.ioc.value("RunState_RBV") == "Configured"
    assert len(pulses(path)) == captured == taken
    bench.idle()
    with bench.sending():
        bench.ioc.put("cam1:Acquire", 1)
        assert bench.ended()[0] == "Idle"
        assert bench.ioc.value("cam1:StatusMessage_RBV") == ""


@pytest.mark.long
def test_images_that_do_not_come_are_missing_when_their_time_is_over(bench: Bench) -> None:
    bench.set(ImageMode="Multiple", NumImages=30, AcquirePeriod=1 / RATE_HZ)
    with bench.capturing("silent") as path:
        with bench.sending():
            bench.begin(3)
        if bench.ioc.value("cam1:Acquire_RBV") == "Acquire":
            bench.ioc.until("cam1:Acquire_RBV", "Done")
        assert bench.ended() == ("Idle", "Done", 30, 30)
    assert len(pulses(path)) == 30


@pytest.mark.long
def test_it_fails_with_the_writer_that_counts(bench: Bench) -> None:
    bench.set(ImageMode="Multiple", NumImages=100_000)
    ioc = bench.ioc
    with bench.sending():
        bench.begin(6)
        os.kill(ioc.value("HDF1:Pid_RBV"), signal.SIGKILL)
        ioc.until("cam1:Acquire_RBV", "Done")
        assert ioc.value("cam1:DetectorState_RBV") == "Error"
        assert "hdf5, which counts the images" in ioc.value("cam1:StatusMessage_RBV")
        ioc.until("RunState_RBV", "Configured")
        bench.idle()
        ioc.put("cam1:Acquire", 1)  # as before, once it is there again
        assert bench.ended()[:3] == ("Idle", "Done", 1)


@pytest.mark.long
@pytest.mark.parametrize("away", [False, True], ids=["goes on", "ended meanwhile"])
def test_after_a_restart_of_the_ioc_it_goes_on_right(bench: Bench, away: bool) -> None:
    images = 60 if away else 400
    bench.set(ImageMode="Multiple", NumImages=images)
    with bench.sending(), bench.capturing(f"restart{images}") as path:
        bench.begin(6)
        worker = bench.ioc
        worker.stop(signal.SIGKILL)
        if away:
            until(lambda: worker.ask("hdf5", "status")["acquisition"]["open"], lambda taking: not taking)
        bench.ioc = bench.start().ready()
        if not away:
            assert bench.ioc.value("cam1:Acquire_RBV") == "Acquire"
            assert bench.ioc.value("cam1:DetectorState_RBV") == "Acquire"
            assert bench.ioc.value("cam1:NumImages_RBV") == images
        assert until(bench.ended, lambda ended: ended[1] == "Done" and ended[0] != "Saving")[2:] == (images, images)
        assert bench.ioc.value("cam1:DetectorState_RBV") == "Idle"
        bench.ioc.until("RunState_RBV", "Configured")
        bench.ioc.until("M00:State_RBV", "Idle")
    assert np.diff(pulses(path)).tolist() == [1] * (images - 1)
