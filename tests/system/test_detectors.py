"""Two cameras in one server: each has areaDetector's records, acquisitions, captures and images of its own."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np
import pytest

from detectors.config import load_config
from ioc.demo.children import Child
from sim.pattern import frame_pattern
from tests.support.epics_env import epics_variables
from tests.support.ioc_process import IocProcess
from tests.support.ports import free_ports
from tests.support.waiting import until

CAMERAS = {"LEFT": (3, (48, 64)), "RIGHT": (4, (32, 40))}
"""Number of the pattern, and shape, of each."""

RATE_HZ = 25
"""Of images: rare enough that clients on a busy machine miss none."""

pytestmark = pytest.mark.long


class Pair:
    """The server of two simulated cameras."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.config = folder / "pair.toml"
        tables = "".join(f'[[pva]]\nname = "{name}"\npv = "SIM:{name}"\n' for name in CAMERAS)
        self.config.write_text(
            f'[detector]\nname = "PAIR"\nprefix = "PAIR:"\n[disk]\nfolder = "{folder}/data"\n'
            f'[hdf5]\nfolder = "{folder}"\n[images]\nimage_hz = 50\n[run]\nautostart = false\n{tables}'
        )
        variables = epics_variables()
        searches = free_ports(2)
        ports = [variables["EPICS_PVA_BROADCAST_PORT"], *map(str, searches)]
        variables["EPICS_PVA_ADDR_LIST"] = " ".join(f"127.0.0.1:{port}" for port in ports)
        self.ioc = IocProcess("PAIR:", "-m", "ioc", "run", str(self.config), variables=variables)
        stack.enter_context(self.ioc)
        for search, (name, (number, shape)) in zip(searches, CAMERAS.items(), strict=True):
            text = "x".join(map(str, shape))
            arguments = [
                "sim",
                "pva",
                f"SIM:{name}",
                "--rate",
                str(RATE_HZ),
                "--shape",
                text,
                "--module-id",
                str(number),
            ]
            camera = Child(name, [*arguments, "--broadcast-port", str(search)], self.ioc.environment)
            stack.callback(camera.end)
            camera.wait_ready(time.monotonic() + 60)
        for name in CAMERAS:
            self.ioc.until(f"{name}:HDF1:State_RBV", "Idle")
            self.ioc.until(f"{name}:State_RBV", lambda state: state != "Starting")

    def capture(self, name: str, file: str) -> None:
        self.ioc.put(f"{name}:HDF1:FileName", file)
        self.ioc.put(f"{name}:HDF1:FileTemplate", "%s%s.h5")
        self.ioc.put(f"{name}:HDF1:LazyOpen", 1)
        self.ioc.put(f"{name}:HDF1:NumCapture", 0)
        self.ioc.put(f"{name}:HDF1:Capture", 1, wait=False)
        self.ioc.until(f"{name}:HDF1:Capture_RBV", "Capture")

    def acquire(self, name: str, images: int, *, wait: bool = True) -> None:
        self.ioc.put(f"{name}:cam1:ImageMode", 1)
        self.ioc.put(f"{name}:cam1:NumImages", images)
        self.ioc.put(f"{name}:cam1:Acquire", 1, wait=wait)

    def check_file(self, name: str, file: str, images: int) -> None:
        """Close the capture, and compare the file with what the camera sends."""
        self.ioc.put(f"{name}:HDF1:Capture", 0)
        number, shape = CAMERAS[name]
        with h5py.File(self.folder / f"{file}.h5") as found:
            data = found["entry/data/data"]
            assert data.shape == (images, *shape)
            pulses = found["entry/instrument/NDAttributes/PulseId"][:].tolist()
            assert pulses == list(range(pulses[0], pulses[0] + images))
            for index, pulse_id in enumerate(pulses):
                np.testing.assert_array_equal(data[index], frame_pattern(pulse_id, number, shape, "uint16"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, runtime_dir: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(tmp_path_factory.mktemp("pair"), stack)


def test_one_takes_images_and_the_other_does_not(pair: Pair) -> None:
    for name in CAMERAS:
        pair.capture(name, f"alone-{name}")
    pair.acquire("LEFT", 7)
    assert pair.ioc.value("RIGHT:RunState_RBV") in ("Unconfigured", "Configured")
    assert pair.ioc.value("RIGHT:cam1:DetectorState_RBV") == "Idle"
    assert pair.ioc.value("RIGHT:HDF1:NumCaptured_RBV") == 0
    pair.check_file("LEFT", "alone-LEFT", 7)
    pair.ioc.put("RIGHT:HDF1:Capture", 0)


def test_each_takes_its_own_number_of_images(pair: Pair) -> None:
    for name in CAMERAS:
        pair.capture(name, f"both-{name}")
    pair.acquire("RIGHT", 100, wait=False)  # seconds
    pair.acquire("LEFT", 5)
    pair.ioc.until("LEFT:RunState_RBV", "Configured")
    assert pair.ioc.value("RIGHT:cam1:Acquire_RBV") == "Acquire"
    pair.ioc.until("RIGHT:cam1:Acquire_RBV", "Done")
    pair.check_file("LEFT", "both-LEFT", 5)
    pair.check_file("RIGHT", "both-RIGHT", 100)


def test_a_run_of_all_shows_the_images_of_each(pair: Pair) -> None:
    pair.ioc.put("Acquire", 1, wait=False)
    for name, (number, shape) in CAMERAS.items():
        pair.ioc.until(f"{name}:cam1:Acquire_RBV", "Acquire")

        def shown(name: str = name) -> tuple[int, np.ndarray]:
            image = pair.ioc.pva.get(f"PAIR:{name}:Pva1:Image", timeout=10)
            pulses = [a.value for a in image.attribute if a.name == "PulseId"]
            return int(pulses[0]) if pulses else 0, np.asarray(image.value)

        pulse_id, pixels = until(shown, lambda got: got[0] > 0)
        np.testing.assert_array_equal(pixels.reshape(shape), frame_pattern(pulse_id, number, shape, "uint16"))
    pair.ioc.until("RunState_RBV", "Enabled")
    pair.ioc.put("Acquire", 0)
    assert pair.ioc.value("RunState_RBV") == "Configured"
    assert [pair.ioc.value(f"{name}:cam1:Acquire_RBV") for name in CAMERAS] == ["Done", "Done"]


def test_a_transition_goes_to_all_and_is_refused_where_none_can_do_it(pair: Pair) -> None:
    pair.ioc.put("Unconfigure", 1)
    for name in CAMERAS:
        pair.ioc.until(f"{name}:RunState_RBV", "Unconfigured")
    assert "legal now: Configure" in pair.ioc.refused("Enable", 1)
    for transition in ("Configure", "BeginRun", "Enable"):
        pair.ioc.put(transition, 1)
    for name in CAMERAS:
        pair.ioc.until(f"{name}:RunState_RBV", "Enabled")
    pair.ioc.put("Acquire", 0)


def test_a_stock_scan_takes_both(pair: Pair, tmp_path: Path) -> None:
    prefixes = ",".join(f"ca://PAIR:{name}:" for name in CAMERAS)
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.bluesky_client", "both", prefixes, str(pair.folder), "3"],
        env=pair.ioc.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"exit_status": "success"' in done.stdout


def test_an_ioc_that_is_killed_finds_both_as_they_were(pair: Pair, runtime_dir: Path) -> None:
    pair.capture("RIGHT", "killed")
    pair.acquire("RIGHT", 120, wait=False)
    pair.ioc.until("RIGHT:HDF1:NumCaptured_RBV", lambda images: images > 5)
    pair.ioc.end(9)
    second = IocProcess("PAIR:", "-m", "ioc", "run", str(pair.config), variables=pair.ioc.variables)
    pair.ioc.close_clients()
    pair.ioc = second.__enter__()
    try:
        assert pair.ioc.value("LEFT:cam1:Acquire_RBV") == "Done"
        assert pair.ioc.value("RIGHT:cam1:NumImages_RBV") == 120
        pair.ioc.until("RIGHT:cam1:Acquire_RBV", "Done")
        pair.check_file("RIGHT", "killed", 120)
    finally:
        second.stop()


def test_the_configuration_names_the_detectors(pair: Pair) -> None:
    assert list(load_config(pair.config).detectors) == ["LEFT", "RIGHT"]
    done = subprocess.run(
        [sys.executable, "-m", "ioc", "capture", str(pair.config), "MIDDLE"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "detector: found 'MIDDLE', expected one of: LEFT, RIGHT" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
