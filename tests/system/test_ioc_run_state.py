"""RunState and Acquire of the IOC while sources do not follow, and the end of a stop."""

import json
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

from sim.console import Console
from tests.support.epics_env import epics_variables, isolate
from tests.support.ioc_process import IocProcess
from tests.support.ioc_setup import CAM, prefix_of, receiving, start, write_config

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("runtime_dir")]

IMAGE = "RUN:STATE:IMAGE"


def camera_alone(folder: Path) -> Path:
    """A configuration with one PvMonitor, whose ring holds 15 KiB."""
    config = write_config(folder, "connect_timeout_s = 1.0\n[dma]\ncfgRxCount = 15\ncfgSize = 1024\n")
    text = config.read_text().replace("SIM:IMAGE", IMAGE)
    head, *tables = text.split("[[")
    config.write_text(head + "".join(f"[[{table}" for table in tables if table.startswith("pva")))
    return config


def not_taking_data(ioc: IocProcess) -> None:
    ioc.until("Message_RBV", lambda text: "the run is to be Enabled" in text)
    assert ioc.value("RunState_RBV") == "Unconfigured"
    assert ioc.value("Acquire_RBV") == "Done"
    assert ioc.value("Acquire") == "Acquire"  # asked for, and not stopped


def test_a_camera_that_never_comes_leaves_the_run_unconfigured(tmp_path: Path) -> None:
    config = camera_alone(tmp_path)
    with IocProcess(prefix_of(config), "-m", "ioc", "run", str(config)) as ioc:
        ioc.until("CAM:State_RBV", "Connecting")
        not_taking_data(ioc)
        ioc.put("Acquire", 0)
        assert ioc.value("Acquire") == "Done"
        assert ioc.value("RunState_RBV") == "Unconfigured"


def test_a_camera_that_cannot_be_configured_leaves_the_run_unconfigured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = isolate(monkeypatch)["EPICS_PVAS_BROADCAST_PORT"]
    config = camera_alone(tmp_path)
    variables = epics_variables() | {"EPICS_PVA_ADDR_LIST": f"127.0.0.1 127.0.0.1:{search}"}
    first = json.dumps({"unique_id": 1, "shape": [200, 200]})
    with (
        Console("tests.support.p4p_server", IMAGE, "ntndarray", first),
        IocProcess(prefix_of(config), "-m", "ioc", "run", str(config), variables=variables) as ioc,
    ):
        ioc.until("CAM:Message_RBV", lambda text: "DMA" in text)
        not_taking_data(ioc)
        assert ioc.value("CAM:RunState_RBV") == "Unconfigured"
        assert ioc.severity("CAM:State_RBV") > 0


PUT = """
import epics
print(epics.caput(P + 'Acquire', VALUE, wait=True, timeout=60))
print(epics.caget(P + 'RunState_RBV', as_string=True))
epics.ca.finalize_libca()
"""


def put_acquire(ioc: IocProcess, value: int) -> "Future[list[str]]":
    """Begin a put over CA with completion, by a client of its own; what it prints when it has ended."""
    done: Future[list[str]] = Future()

    def run() -> None:
        done.set_result(ioc.python(PUT.replace("VALUE", str(value))).split())

    threading.Thread(target=run, daemon=True).start()
    return done


def test_a_stop_over_ca_ends_when_all_workers_have_stopped(tmp_path: Path) -> None:
    """A client waits for the end of its start, as bluesky does: the stop by another one must wait all the same."""
    with start(write_config(tmp_path, "[run]\nautostart = false\n")) as ioc:
        receiving(ioc)
        started = put_acquire(ioc, 1)
        ioc.until("RunState_RBV", "Enabled")
        ioc.ask(CAM, "hold")
        stopped = put_acquire(ioc, 0)
        ioc.until("Message_RBV", "Disable: waiting for pva.CAM")
        assert (ioc.value("RunState_RBV"), ioc.value("Acquire_RBV")) == ("Enabled", "Acquire")  # one source still is
        with pytest.raises(TimeoutError):
            stopped.result(1.5)
        assert not started.done()
        ioc.ask(CAM, "let_go")
        assert stopped.result(60) == started.result(60) == ["1", "Configured"]
        assert ioc.ask(CAM, "status")["run_state"] == "Configured"
