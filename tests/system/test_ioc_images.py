"""Live images under the soft-IOC: PV Access by p4p and pvapy, Channel Access by caproto and pyepics, and what a kill costs."""

import json
import os
import signal
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from p4p.client.thread import Context

from tests.support.installed import needs
from tests.support.ioc_process import IocProcess
from tests.support.ioc_setup import prefix_of, write_config
from tests.support.ports import free_ports
from tests.support.senders import sending
from tests.support.two_modules import pattern_image
from tests.support.waiting import until

SHAPE = (512, 1024)
RATE = 20

PVAPY = """
import sys, json, zlib
import numpy as np, pvaccess
channel = pvaccess.Channel(P + "Pva1:Image")
pv = channel.get("field()")
value = pv["value"][0]
(member, pixels), = value.items()
print(json.dumps({
    "member": member,
    "crc": zlib.crc32(np.ascontiguousarray(pixels).tobytes()),
    "size": [d["size"] for d in pv["dimension"]],
    "pulse": next(a["value"][0]["value"] for a in pv["attribute"] if a["name"] == "PulseId"),
}))
"""

PYEPICS = """
import json, zlib, epics
data = epics.PV(P + "image1:ArrayData")
pixels = data.get(timeout=20)
print(json.dumps({"count": len(pixels), "sum": int(pixels.astype(int).sum())}))
"""

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    first, second = free_ports(2)
    return first, second


@pytest.fixture(scope="module")
def ioc(tmp_path_factory: pytest.TempPathFactory, runtime_dir: Path, ports: tuple[int, int]) -> Iterator[IocProcess]:
    config = write_config(tmp_path_factory.mktemp("images"), ports=ports)
    config.write_text(config.read_text().split("[[pva]]")[0] + "[images]\nca_hz = 10\n")
    with IocProcess(prefix_of(config), "-m", "ioc", "run", str(config)) as found:
        for name in ("M00:State_RBV", "M01:State_RBV", "Pva1:State_RBV"):
            found.until(name, "Idle")
        yield found
        found.stop_clean()


@pytest.fixture(scope="module")
def senders(ioc: IocProcess, ports: tuple[int, int]) -> Iterator[None]:
    """Both modules, sending for as long as the tests need it."""
    assert ioc.value("M00:State_RBV") == "Idle"
    with sending(ports, "--rate", str(RATE)):
        yield


def image(pulse_id: int) -> np.ndarray:
    return pattern_image(pulse_id, shape=SHAPE)


def pulse_of(value: Any) -> int:
    """The pulse of an image; 0 of the empty one that a client gets when there is none yet."""
    return next((element.value for element in value.attribute if element.name == "PulseId"), 0)


@pytest.mark.usefixtures("senders")
class TestWhileDataComes:
    def test_p4p_reads_exact_images_that_change(self, ioc: IocProcess) -> None:
        got: list[Any] = []
        subscription = ioc.pva.monitor(f"{ioc.prefix}Pva1:Preview", got.append)
        until(lambda: len({pulse_of(value) for value in got}) > 5)
        subscription.close()
        for value in got[-5:]:
            assert [d.size for d in value.dimension] == [512, 512]
            assert (value.value.reshape(512, 512) == image(pulse_of(value))[1::2, 1::2]).all()
        full = ioc.pva.get(f"{ioc.prefix}Pva1:Image", timeout=20)
        assert (full.value.reshape(1024, 1024) == image(pulse_of(full))).all()
        assert abs(full.timeStamp.secondsPastEpoch - time.time()) < 3
        assert ioc.until("Pva1:ArrayCounter_RBV", lambda n: n >= 1)
        ioc.until("Pva1:ArraySizeX_RBV", 1024)
        ioc.until("Pva1:DataType_RBV", "UInt16")

    def test_pvapy_reads_exact_images(self, ioc: IocProcess) -> None:
        needs("pvaccess")
        found = json.loads(ioc.python(PVAPY))
        assert (found["member"], found["size"]) == ("ushortValue", [1024, 1024])
        assert found["crc"] == zlib.crc32(image(found["pulse"]).tobytes())

    def test_channel_access_has_a_smaller_image_while_it_is_enabled(self, ioc: IocProcess) -> None:
        assert ioc.value("image1:EnableCallbacks_RBV") == "Disable"
        ioc.put("image1:EnableCallbacks", 1)
        ioc.until("image1:ArrayCounter_RBV", lambda n: n > 2)
        assert [ioc.value(f"image1:ArraySize{n}_RBV") for n in range(3)] == [512, 512, 0]
        assert (ioc.value("image1:ColorMode_RBV"), ioc.value("image1:DataType_RBV")) == ("Mono", "UInt16")
        ioc.put("image1:EnableCallbacks", 0)

        def shown() -> tuple[int, np.ndarray, np.ndarray]:
            pulse = ioc.value("image1:PulseId_RBV")
            return pulse, image(pulse)[1::2, 1::2], np.asarray(ioc.value("image1:ArrayData"))

        pulse, wanted, _ = until(shown, lambda found: np.array_equal(found[1].ravel(), found[2]))
        found = json.loads(ioc.python(PYEPICS))
        assert found == {"count": wanted.size, "sum": int(wanted.astype(int).sum())}
        words = ioc.caproto("get", f"{ioc.prefix}image1:ArrayData", "--format", "{response.data_count}").split()
        assert words[-1] == str(wanted.size)
        time.sleep(0.5)
        assert ioc.value("image1:PulseId_RBV") == pulse

    def test_the_image_comes_again_each_time_that_it_is_enabled(self, ioc: IocProcess) -> None:
        for _ in range(5):
            shown = ioc.value("image1:ArrayCounter_RBV")
            ioc.put("image1:EnableCallbacks", 1)
            ioc.until("image1:ArrayCounter_RBV", lambda n: n > shown)  # noqa: B023
            ioc.put("image1:EnableCallbacks", 0)
            assert ioc.value("image1:EnableCallbacks_RBV") == "Disable"

    def test_a_killed_worker_is_started_again_and_its_pvs_come_back(self, ioc: IocProcess) -> None:
        ioc.put("image1:EnableCallbacks", 1)
        ioc.until("Pva1:State_RBV", "Showing")
        os.kill(ioc.value("Pva1:Pid_RBV"), signal.SIGKILL)
        ioc.until("Pva1:Running_RBV", "No")
        ioc.until("Pva1:Running_RBV", "Yes")
        # The IOC subscribes again by itself. A client of PV Access searches again, at growing intervals: take a new one.
        shown = ioc.value("image1:ArrayCounter_RBV")
        ioc.until("image1:ArrayCounter_RBV", lambda n: n > shown + 1)
        with Context("pva", conf=ioc.variables, useenv=False, nt=False) as client:
            value = client.get(f"{ioc.prefix}Pva1:Preview", timeout=20)
        assert (value.value.reshape(512, 512) == image(pulse_of(value))[1::2, 1::2]).all()
        ioc.until("Pva1:Restarts_RBV", 1)
        ioc.put("image1:EnableCallbacks", 0)


def test_an_acquisition_is_counted_where_no_file_is_written(tmp_path: Path, runtime_dir: Path) -> None:
    ports = free_ports(2)
    path = write_config(tmp_path, ports=(ports[0], ports[1]))
    path.write_text(path.read_text().split("[[pva]]")[0] + "[run]\nautostart = false\n[images]\n")
    with IocProcess(prefix_of(path), "-m", "ioc", "run", str(path)) as ioc, sending(ports, "--rate", "50"):
        for name in ("M00:State_RBV", "M01:State_RBV"):
            ioc.until(name, lambda state: state in {"Idle", "Receiving"})
        ioc.until("Pva1:State_RBV", "Idle")
        ioc.put("cam1:ImageMode", 1)
        ioc.put("cam1:NumImages", 20)
        ioc.put("cam1:Acquire", 1)
        assert ioc.value("cam1:DetectorState_RBV") == "Idle"
        ioc.until("Pva1:Acq:Taken_RBV", 20)
        until(lambda: ioc.value("Pva1:Acq:Good_RBV") + ioc.value("Pva1:Acq:Filled_RBV"), lambda images: images == 20)
        ioc.until("Pva1:Acq:Open_RBV", "No")


def test_clients_do_not_notice_that_the_ioc_is_started_anew(tmp_path: Path, runtime_dir: Path) -> None:
    path = write_config(tmp_path)
    path.write_text(path.read_text().split("[[pva]]")[0] + "[images]\nca = true\n")
    words = prefix_of(path), "-m", "ioc", "run", str(path)
    got: list[Any] = []
    with IocProcess(*words) as first, Context("pva", conf=first.variables, useenv=False, nt=False) as client:
        first.until("Pva1:State_RBV", lambda state: state in {"Idle", "Waiting"})
        subscription = client.monitor(f"{first.prefix}Pva1:Image", got.append, notify_disconnect=True)
        until(lambda: got and not isinstance(got[-1], Exception))
        pid = first.value("Pva1:Pid_RBV")
        first.stop(signal.SIGKILL)
        with IocProcess(*words, variables=first.variables) as second:
            second.until("Pva1:Running_RBV", "Yes")
            second.until("Pva1:Adopted_RBV", "Yes")
            second.until("Pva1:Pid_RBV", pid)
            second.until("Pva1:Clients_RBV", 1)
            assert second.value("image1:EnableCallbacks") == "Enable"
            assert not isinstance(got[-1], Exception)
            subscription.close()
            second.stop_clean()
