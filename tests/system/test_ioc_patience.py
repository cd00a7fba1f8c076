"""The soft-IOC while a worker takes its time over a transition: it waits, says so, and does everything else."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from p4p.client.thread import RemoteError

from tests.support.ioc_process import IocProcess
from tests.support.ioc_setup import CAM, receiving, start, write_config

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("runtime_dir")]

OLD_LIMIT_S = 5.5
"""Longer than any worker takes for other commands."""


@pytest.fixture
def ioc(tmp_path: Path) -> Iterator[IocProcess]:
    with start(write_config(tmp_path, "[run]\nautostart = false\n")) as running:
        yield receiving(running)


def configure_and_hold(ioc: IocProcess) -> None:
    ioc.ask(CAM, "hold")
    ioc.put("Configure", 1, wait=False)
    ioc.until("Message_RBV", "Configure: waiting for pva.CAM")


def test_a_long_configure_is_waited_for_and_holds_up_nothing(ioc: IocProcess) -> None:
    configure_and_hold(ioc)
    begun = time.monotonic()
    ioc.ask(CAM, "set", state="Configuring")
    ioc.until("CAM:State_RBV", "Configuring")
    on = True
    while time.monotonic() - begun < OLD_LIMIT_S:
        on = not on
        for name in ("CAM", "M00"):
            ioc.put(f"{name}:Zmq:On", int(on))
            ioc.until(f"{name}:Zmq:State_RBV", "Idle" if on else "Off")
        assert ioc.value("RunState_RBV") == "Unconfigured"
        assert ioc.value("CAM:State_RBV") == "Configuring"
    ioc.ask(CAM, "let_go")
    ioc.until("RunState_RBV", "Configured")
    ioc.until("Message_RBV", "")
    assert ioc.value("Refused_RBV") == 0


def test_what_is_refused_meanwhile_is_still_shown_at_its_end(ioc: IocProcess) -> None:
    configure_and_hold(ioc)
    with pytest.raises(RemoteError):
        ioc.put("M00:Disk:Folder", "/etc")
    ioc.until("Refused_RBV", 1)
    ioc.ask(CAM, "let_go")
    ioc.until("Configure", "Done")
    ioc.until("RunState_RBV", "Configured")
    ioc.until("Message_RBV", lambda text: text.startswith("M00:Disk:Folder: "))
    ioc.put("M00:Disk:On", 1)
    assert ioc.value("Message_RBV") == ""


def test_the_death_of_who_is_waited_for_ends_the_wait(ioc: IocProcess) -> None:
    configure_and_hold(ioc)
    os.kill(ioc.value("CAM:Pid_RBV"), signal.SIGKILL)
    message = ioc.until("Message_RBV", lambda text: "refused by" in text)
    assert "Configure refused by pva.CAM: transition: the worker ended, or hangs, before it answered" in message
    assert ioc.value("RunState_RBV") == "Unconfigured"
    ioc.until("CAM:State_RBV", "Receiving")  # started again
    ioc.put("Configure", 1)
    assert ioc.value("RunState_RBV") == "Configured"
