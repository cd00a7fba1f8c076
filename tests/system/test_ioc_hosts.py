"""The IOC and workers of another host, which has a runtime folder of its own: adopted over the network, never started."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from detectors.config import load_config
from detectors.hosts import endpoint
from detectors.workers.commands import encode
from detectors.workers.host_clock import read_clock
from tests.support.epics_env import epics_variables
from tests.support.far_host import Far, far_host
from tests.support.ioc_process import IocProcess
from tests.support.ioc_setup import M00, M01, start
from tests.support.process import Process
from tests.support.waiting import until

pytestmark = pytest.mark.long

INVALID = 3


@pytest.fixture
def far(tmp_path: Path, runtime_dir: Path) -> Iterator[Far]:
    with far_host(tmp_path) as found:
        yield found


def adopted(ioc: IocProcess, name: str, worker: Process) -> None:
    ioc.until(f"{name}:State_RBV", "Receiving")
    ioc.until(f"{name}:Pid_RBV", worker.pid)
    ioc.until(f"{name}:Adopted_RBV", "Yes")


def test_workers_of_another_host_are_adopted_and_commanded(far: Far) -> None:
    first, second = far.launch(M00), far.launch(M01)
    with start(far.config) as ioc:
        adopted(ioc, "M00", first)
        adopted(ioc, "M01", second)
        ioc.put("Acquire", 0)
        for name in ("M00", "M01", "CAM"):
            ioc.until(f"{name}:RunState_RBV", "Configured")
        ioc.put("M00:Disk:On", 0)
        ioc.until("M00:Disk:On_RBV", "Off")
        assert ioc.value("M01:Disk:On_RBV") == "On"


def test_one_that_dies_fails_and_is_adopted_again_with_its_settings(far: Far) -> None:
    first, second = far.launch(M00), far.launch(M01)
    with start(far.config) as ioc:
        adopted(ioc, "M01", second)
        adopted(ioc, "M00", first)
        ioc.put("M00:Disk:On", 0)
        first.end(signal.SIGKILL)
        ioc.until("M00:State_RBV", "Failed")
        ioc.until("M00:Message_RBV", lambda text: "no snapshot from far" in text)
        until(lambda: ioc.severity("M00:State_RBV"))
        assert ioc.value("M01:State_RBV") == "Receiving"
        again = far.launch(M00)
        adopted(ioc, "M00", again)
        ioc.until("M00:Restarts_RBV", 1)
        ioc.until("M00:Disk:On_RBV", "Off")
        ioc.until("M00:RunState_RBV", "Enabled")


def test_one_that_was_never_launched_says_where_to_start_it(far: Far) -> None:
    far.launch(M00)
    with start(far.config) as ioc:
        ioc.until("M01:Message_RBV", lambda text: "was not heard of on far" in text)
        ioc.until("M01:State_RBV", "Failed")
        launched = far.launch(M01)
        adopted(ioc, "M01", launched)


def test_run_ends_it_and_only_its_host_starts_it(far: Far) -> None:
    first, _ = far.launch(M00), far.launch(M01)
    with start(far.config) as ioc:
        adopted(ioc, "M00", first)
        ioc.put("M00:Run", 0)
        ioc.until("M00:State_RBV", "Off")
        assert first.wait() == 0
        assert "only that host can start it" in ioc.refused("M00:Run", 1)
        assert ioc.value("M00:Run") == "Stop"
        adopted(ioc, "M00", far.launch(M00))
        ioc.until("M00:Run", "Run")


def test_it_goes_on_without_the_ioc_and_one_on_another_host_adopts_it(
    far: Far, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    workers = {"M00": far.launch(M00), "M01": far.launch(M01)}
    with start(far.config) as ioc:
        for name, worker in workers.items():
            adopted(ioc, name, worker)
        ioc.put("Acquire", 0)
        ioc.put("M01:Disk:On", 0)
        ioc.until("M01:Disk:On_RBV", "Off")
        assert ioc.stop() == 0
    assert [worker.process.poll() for worker in workers.values()] == [None, None]
    with tempfile.TemporaryDirectory(prefix="pd", dir="/tmp") as another:
        monkeypatch.setenv("XDG_RUNTIME_DIR", another)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        with start(far.config) as ioc:
            for name, worker in workers.items():
                adopted(ioc, name, worker)
            ioc.until("M01:Disk:On_RBV", "Off")
            ioc.until("M00:Disk:On_RBV", "On")
            for name in workers:
                ioc.until(f"{name}:RunState_RBV", "Configured")


def test_a_second_ioc_is_refused_while_the_first_one_answers(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    far.launch(M00)
    with start(far.config) as ioc, tempfile.TemporaryDirectory(prefix="pd", dir="/tmp") as another:
        search = f"127.0.0.1:{ioc.variables['EPICS_PVA_BROADCAST_PORT']}"
        monkeypatch.setenv("XDG_RUNTIME_DIR", another)
        second = Process(
            *("-m", "tests.support.fake_ioc", str(far.config)),
            environment=os.environ | epics_variables() | {"EPICS_PVA_ADDR_LIST": search},
        )
        with second:
            second.wait_for(f"an IOC of the prefix {ioc.prefix} runs since .* on another host")
            assert second.wait() == 1
        assert ioc.value("M00:State_RBV") == "Receiving"


def test_who_has_no_keys_commands_nobody(far: Far) -> None:
    worker = far.launch(M00)
    found = endpoint(load_config(far.config), M00)
    assert found is not None
    with zmq.Context() as context, context.socket(zmq.REQ) as socket, context.socket(zmq.SUB) as listener:
        socket.linger = 0
        listener.subscribe(b"")
        socket.connect(f"tcp://127.0.0.1:{found.command_port}")
        listener.connect(f"tcp://127.0.0.1:{found.status_port}")
        socket.send(encode("stop", 1.0, {}))
        assert not socket.poll(1500)
        assert not listener.poll(1500)  # a snapshot comes every second
    assert worker.process.poll() is None


def test_a_port_that_is_taken_is_named_with_the_host(far: Far) -> None:
    found = endpoint(load_config(far.config), M00)
    assert found is not None
    with zmq.Context() as context, context.socket(zmq.REP) as socket:
        socket.bind(f"tcp://127.0.0.1:{found.command_port}")
        with pytest.raises(AssertionError, match=r"control: 127.0.0.1:\d+: cannot be bound: .* on the host far"):
            far.launch(M00)


def test_a_host_shows_who_responds_there_and_its_clock(far: Far) -> None:
    first, others = far.launch(M00), [far.launch(M01), far.launch_keeper()]
    with start(far.config) as ioc:
        ioc.until("far:State_RBV", "Responding")
        assert ioc.value("far:Address_RBV") == "127.0.0.1"
        assert ioc.value("far:Workers_RBV") == 3
        ioc.until("far:WorkersResponding_RBV", 3)
        # Both clocks are that of this machine.
        ioc.until("far:Clock:RoundTrip_RBV", lambda ms: ms > 0 and abs(ioc.value("far:Clock:Offset_RBV")) <= ms / 2)
        ioc.until("far:Clock:State_RBV", read_clock().state)
        first.end(signal.SIGKILL)
        ioc.until("far:State_RBV", "Partly")
        ioc.until("far:Message_RBV", lambda text: "udp.M00" in text)
        assert ioc.severity("far:Clock:Offset_RBV") == 0  # the others tell it
        for other in others:
            other.end(signal.SIGKILL)
        ioc.until("far:State_RBV", "Silent")
        until(lambda: ioc.severity("far:Clock:Offset_RBV"), lambda severity: severity == INVALID)
        ioc.until("Health_RBV", lambda text: text.startswith("far:State_RBV: Silent (no answer from 127.0.0.1"))
        far.launch(M00)
        ioc.until("far:State_RBV", "Partly")
        ioc.until("far:Clock:Offset_RBV", lambda _: ioc.severity("far:Clock:Offset_RBV") == 0)
