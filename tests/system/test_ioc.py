"""The soft-IOC with workers that have no data: records, commands, run control."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ioc_process import IocProcess
from tests.support.ioc_setup import CAM, M00, M01, SOURCES, receiving, start, write_config
from tests.support.waiting import until


@pytest.fixture(scope="module")
def ioc(tmp_path_factory: pytest.TempPathFactory, runtime_dir: Path) -> Iterator[IocProcess]:
    with start(write_config(tmp_path_factory.mktemp("ioc"))) as running:
        yield receiving(running)


@pytest.fixture(autouse=True)
def enabled(ioc: IocProcess) -> Iterator[None]:
    """Every test finds the run enabled."""
    yield
    for worker in (M00, M01, CAM):
        ioc.ask(worker, "refuse", services=[])
    # A second Acquire while the first is in progress would be carried out after it, and enable the run once more.
    ioc.until("Acquire", lambda value: value == "Done" or ioc.value("RunState_RBV") == "Enabled")
    if ioc.value("Acquire") == "Done":
        ioc.put("Acquire", 1, wait=False)
    ioc.until("RunState_RBV", "Enabled")


def severe(ioc: IocProcess, name: str, severity: int) -> None:
    """Wait until a record has a severity: EPICS sets it a moment after the value."""
    until(lambda: ioc.severity(name), lambda found: found == severity)


def test_ready_tells_the_prefix_and_the_number_of_records(ioc: IocProcess) -> None:
    (line,) = [line for line in ioc.lines if line.startswith("READY " + ioc.prefix)]
    assert int(line.split()[-1]) > 200
    assert f"EPICS_CA_SERVER_PORT={ioc.variables['EPICS_CA_SERVER_PORT']}" in ioc.lines


def test_what_a_worker_counts_is_shown(ioc: IocProcess) -> None:
    ioc.ask(M00, "set", **{"pulse_id": 2**53 + 1, "packets.received": 128, "rates.frames_hz": 99.5})
    assert ioc.until("M00:PulseId_RBV", lambda v: v) == 2**53 + 1
    ioc.until("M00:PacketsReceived_RBV", 128)
    ioc.until("M00:FrameRate_RBV", 99.5)
    assert ioc.value("M01:PacketsReceived_RBV") == 0
    ioc.ask(CAM, "set", **{"shape": "2048 x 2048", "updates.match": 7, "transition.in_use": 3})
    ioc.until("CAM:Match_RBV", 7)
    ioc.until("CAM:Shape_RBV", "2048 x 2048")
    ioc.until("CAM:Transition:InUse_RBV", 3)


def test_readings_of_a_frame_have_its_time(ioc: IocProcess) -> None:
    frame_ns = 1_700_000_000_123_456_789
    ioc.ask(M00, "set", pulse_id=77, frame_index=7, data_ns=frame_ns)
    ioc.ask(CAM, "set", pulse_id=78, unique_id=8, data_ns=frame_ns + 1)
    for name, value, expected in (
        ("M00:PulseId_RBV", 77, frame_ns),
        ("M00:FrameIndex_RBV", 7, frame_ns),
        ("CAM:PulseId_RBV", 78, frame_ns + 1),
        ("CAM:UniqueId_RBV", 8, frame_ns + 1),
    ):
        ioc.until(name, value)
        stamp = ioc.pva.get(ioc.prefix + name).timeStamp
        assert stamp.secondsPastEpoch * 1_000_000_000 + stamp.nanoseconds == expected
    ca = ioc.python(
        "import epics\n"
        "pv = epics.PV(P + 'M00:PulseId_RBV', form='time')\n"
        "assert pv.wait_for_connection(10)\n"
        "pv.get()\n"
        "print(pv.posixseconds, pv.nanoseconds)\n"
        "epics.ca.finalize_libca()\n"
    )
    assert ca.split()[-2:] == ["1700000000.0", "123456789"]
    ioc.ask(M00, "set", pulse_id=79, data_ns=0)  # not known: when it changed
    ioc.until("M00:PulseId_RBV", 79)
    assert abs(ioc.pva.get(ioc.prefix + "M00:PulseId_RBV").timeStamp.secondsPastEpoch - time.time()) < 10
    ioc.ask(M00, "set", pulse_id=80, data_ns=2**62)  # beyond what EPICS can hold
    ioc.until("M00:PulseId_RBV", 80)
    assert ioc.pva.get(ioc.prefix + "M00:PulseId_RBV").timeStamp.secondsPastEpoch == 2**32 - 1


def test_the_buffer_plan_is_a_text_that_follows_the_payload(ioc: IocProcess) -> None:
    assert "128: next power of two above cfgRxCount = 80" in ioc.value("Plan_RBV")
    assert "CAM: payload unknown" in ioc.value("Plan_RBV")
    ioc.ask(CAM, "set", payload_bytes=1 << 20)
    assert "CAM: payload 1,048,576 bytes" in ioc.until("Plan_RBV", lambda v: "CAM: payload unknown" not in v)


def test_what_the_host_lacks_is_shown_as_it_was_logged(ioc: IocProcess) -> None:
    lines = ioc.value("Host_RBV").splitlines()
    assert len(lines) == ioc.value("HostWarnings_RBV")
    logged = [line.partition("ioc.startup: ")[2] for line in ioc.lines if "WARNING ioc.startup: " in line]
    assert lines == logged


def test_three_clients_read_the_same(ioc: IocProcess) -> None:
    ioc.ask(M00, "set", **{"packets.placed": 123456, "rates.bytes_per_s": 1.5e8, "message": "fine"})
    ioc.until("M00:PacketsPlaced_RBV", 123456)
    ioc.until("M00:DataRate_RBV", 1.5e8)
    names = ["M00:PacketsPlaced_RBV", "M00:DataRate_RBV", "M00:State_RBV", "Version_RBV"]
    pva = [str(ioc.value(name)) for name in names]
    script = (
        "import epics\n"
        "for name in {names}:\n"
        "    pv = epics.PV(P + name); assert pv.wait_for_connection(10)\n"
        "    print(pv.get(as_string=pv.type.endswith('enum')))\n"
        "epics.ca.finalize_libca()\n"
    )
    pyepics = ioc.python(script.replace("{names}", repr(names))).split("\n")
    caproto = [ioc.caproto("get", ioc.prefix + name).strip() for name in names]
    assert caproto[2:] == pva[2:] == pyepics[2 : len(names)]
    assert [float(v) for v in caproto[:2]] == [float(v) for v in pva[:2]] == [float(v) for v in pyepics[:2]]


def test_long_texts_are_read_and_written_over_ca(ioc: IocProcess) -> None:
    first, long = ioc.value("M00:Disk:Folder"), "/tmp/" + "/".join(["a-name-longer-than-forty-characters"] * 3)
    script = (
        "import epics\n"
        "print(epics.caput(P + 'M00:Disk:Folder', {long!r}, wait=True))\n"
        "for name in ('M00:Disk:Folder', 'Version_RBV.VAL$', 'Version_RBV.DESC$'):\n"
        "    print(epics.caget(P + name, as_string=True))\n"
        "epics.ca.finalize_libca()\n"
    )
    assert ioc.python(script.replace("{long!r}", repr(long))).splitlines() == [
        "1",
        long,
        ioc.value("Version_RBV"),
        "Version of this detector server",
    ]
    assert ioc.value("M00:Disk:Folder") == long
    assert ioc.caproto("get", "-S", ioc.prefix + "M00:Disk:Folder").strip().rstrip("\0") == long  # it shows the end too
    ioc.caproto("put", "-S", ioc.prefix + "M00:Disk:Folder", first)
    assert ioc.value("M00:Disk:Folder") == first


def test_transitions_over_pva_reach_every_worker(ioc: IocProcess) -> None:
    for service, state in (("Disable", "Running"), ("EndRun", "Configured"), ("Unconfigure", "Unconfigured")):
        ioc.put(service, 1)
        assert ioc.value("RunState_RBV") == state
        assert ioc.value(service) == "Done"
        assert [ioc.ask(w, "status")["run_state"] for w in (M00, M01, CAM)] == [state] * 3
    for service, state in (("Configure", "Configured"), ("BeginRun", "Running"), ("Enable", "Enabled")):
        ioc.put(service, 1)
        assert ioc.value("RunState_RBV") == state
    assert ioc.value("Message_RBV") == ""


def test_transitions_over_ca_reach_every_worker(ioc: IocProcess) -> None:
    ioc.caproto("put", ioc.prefix + "Disable", "1")
    ioc.until("RunState_RBV", "Running")
    done = ioc.python("import epics\nprint(epics.caput(P + 'Enable', 1, wait=True))\nepics.ca.finalize_libca()\n")
    assert done.split() == ["1"]
    assert ioc.value("RunState_RBV") == "Enabled"
    assert ioc.ask(M01, "status")["run_state"] == "Enabled"


def test_an_illegal_transition_is_refused_with_its_reason(ioc: IocProcess) -> None:
    refused = ioc.value("Refused_RBV")
    assert ioc.refused("Configure", 1) == "Configure refused: the run is Enabled; legal now: Disable"
    assert ioc.value("Refused_RBV") == refused + 1
    assert ioc.value("RunState_RBV") == "Enabled"
    assert ioc.value("Configure") == "Done"
    ioc.put("Disable", 1)
    assert ioc.value("Message_RBV") == ""


def test_what_one_worker_refuses_none_does(ioc: IocProcess) -> None:
    ioc.put("Disable", 1)
    ioc.ask(M01, "refuse", services=["Enable"])
    assert ioc.refused("Enable", 1) == "Enable refused by udp.M01: Enable is not wanted"
    assert ioc.value("RunState_RBV") == "Running"
    assert [ioc.ask(w, "status")["run_state"] for w in (M00, M01, CAM)] == ["Running"] * 3


def test_a_refused_acquire_does_not_stay(ioc: IocProcess) -> None:
    ioc.put("Disable", 1)
    ioc.until("Acquire", "Done")
    ioc.ask(CAM, "refuse", services=["Enable"])
    assert "pva.CAM: Enable is not wanted" in ioc.refused("Acquire", 1)
    assert ioc.value("Acquire") == "Done"
    assert ioc.value("AcquireBusy") == "Done"


def test_a_put_to_acquire_ends_with_the_acquisition(ioc: IocProcess) -> None:
    ioc.put("Acquire", 0)
    ioc.until("RunState_RBV", "Configured")
    script = (
        "import epics, threading\n"
        "acquire, state = epics.PV(P + 'Acquire'), epics.PV(P + 'RunState_RBV')\n"
        "assert acquire.wait_for_connection(10) and state.wait_for_connection(10)\n"
        "ended = threading.Event()\n"
        "acquire.put(1, callback=lambda **k: ended.set())\n"
        "while state.get(as_string=True, use_monitor=False) != 'Enabled': pass\n"
        "print(ended.wait(0.5))\n"
        "epics.caput(P + 'Acquire', 0)\n"
        "print(ended.wait(20), epics.caget(P + 'Acquire_RBV'))\n"
        "epics.ca.finalize_libca()\n"
    )
    assert ioc.python(script).split() == ["False", "True", "0"]


def test_a_module_is_switched_off_and_on_over_ca_and_pva(ioc: IocProcess) -> None:
    before = ioc.value("M01:Pid_RBV")
    ioc.caproto("put", ioc.prefix + "M01:Run", "0")
    ioc.until("M01:State_RBV", "Off")
    assert not Path(f"/proc/{before}").exists()
    ioc.until("M01:Run_RBV", "Stop")
    severe(ioc, "M01:State_RBV", 0)
    ioc.put("Disable", 1)
    ioc.put("M01:Run", 1)
    ioc.until("M01:State_RBV", "Receiving")
    ioc.until("M01:Pid_RBV", lambda pid: pid not in (0, before))
    assert ioc.ask(M01, "status")["run_state"] == "Running"


def test_outputs_are_switched_one_by_one_and_all_at_once(ioc: IocProcess) -> None:
    ioc.put("M00:Disk:On", 0)
    ioc.until("M00:Disk:On_RBV", "Off")
    assert [ioc.value(f"{n}:Disk:On") for n in SOURCES] == ["Off", "On", "On"]
    ioc.until("Disk:On", "Off")
    ioc.put("Disk:On", 1)
    for name in SOURCES:
        ioc.until(f"{name}:Disk:On_RBV", "On")
        assert ioc.value(f"{name}:Disk:On") == "On"


def test_the_folder_moves_or_stays_with_a_reason(ioc: IocProcess) -> None:
    first = ioc.value("M00:Disk:Folder")
    assert ioc.until("M00:Disk:Folder_RBV", lambda v: v) == first + "/DET"
    ioc.put("Disk:Folder", "/tmp/elsewhere")
    for name in SOURCES:
        ioc.until(f"{name}:Disk:Folder_RBV", "/tmp/elsewhere/DET")
        assert ioc.value(f"{name}:Disk:Folder") == "/tmp/elsewhere"
    for folder, reason in (
        ("/tmp/unwritable", "cannot be written"),
        ("here", "expected an absolute path"),
        ("/etc", "expected a place below the roots"),
    ):
        assert reason in ioc.refused("M00:Disk:Folder", folder)
        assert ioc.value("M00:Disk:Folder") == "/tmp/elsewhere"
    ioc.put("Disk:Folder", first)


def test_lost_packets_alarm_and_are_named_as_the_worst(ioc: IocProcess) -> None:
    lost = ioc.ask(M00, "status")["packets"]["lost"]
    ioc.ask(M00, "set", **{"packets.lost": lost + 3})
    severe(ioc, "M00:PacketsLostRecently_RBV", 1)
    assert ioc.severity("M00:PacketsLost_RBV") == 0
    ioc.until("Health_RBV", lambda v: v.startswith("M00:PacketsLostRecently_RBV: 3 packets"))
    ioc.until("Alarm_RBV", "Minor")
    ioc.ask(M00, "set", **{"packets.lost": lost + 200})
    severe(ioc, "M00:PacketsLostRecently_RBV", 2)
    ioc.until("Alarm_RBV", "Major")


def test_states_alarm(ioc: IocProcess) -> None:
    for field, record, state, severity in (
        ("state", "State_RBV", "Stalled", 2),
        ("state", "State_RBV", "NoSuchState", 3),
        ("disk.state", "Disk:State_RBV", "Failing", 2),
        ("disk.state", "Disk:State_RBV", "Full", 2),
    ):
        good = {"state": "Receiving", "disk.state": "Idle"}[field]
        ioc.ask(M01, "set", **{field: state, "message": "look here"})
        severe(ioc, f"M01:{record}", severity)
        ioc.until("Health_RBV", lambda v, name=f"M01:{record}", s=state: v.startswith(f"{name}: {s}"))
        ioc.ask(M01, "set", **{field: good})
        severe(ioc, f"M01:{record}", 0)


def test_a_ring_smaller_than_asked_alarms(ioc: IocProcess) -> None:
    ioc.ask(M00, "set", **{"dma.total_bytes": 80 << 20, "dma.granted_bytes": 4 << 20})
    severe(ioc, "M00:Dma:Short_RBV", 1)
    ioc.ask(M00, "set", **{"dma.granted_bytes": 80 << 20})
    severe(ioc, "M00:Dma:Short_RBV", 0)


def test_a_worker_that_hangs_has_failed_until_it_wakes(ioc: IocProcess) -> None:
    pid = ioc.value("M00:Pid_RBV")
    os.kill(pid, signal.SIGSTOP)
    try:
        ioc.until("M00:State_RBV", "Failed")
        severe(ioc, "M00:State_RBV", 3)
        severe(ioc, "M00:PulseId_RBV", 3)
        ioc.until("M00:Message_RBV", f"process {pid} sent no snapshot for more than 2 s")
        ioc.until("M00:Running_RBV", "No")
        ioc.put("Disable", 1)  # the others go on without it
        assert ioc.value("RunState_RBV") == "Running"
    finally:
        os.kill(pid, signal.SIGCONT)
    ioc.until("M00:State_RBV", "Receiving")
    ioc.until("M00:RunState_RBV", "Running")  # it has caught up
    severe(ioc, "M00:PulseId_RBV", 0)


def test_a_killed_worker_has_failed_and_comes_back_as_it_was_set(ioc: IocProcess) -> None:
    ioc.put("M00:Zmq:On", 0)
    ioc.put("M00:Disk:Folder", "/tmp/kept")
    ioc.put("Disable", 1)
    before, restarts = ioc.value("M00:Pid_RBV"), ioc.value("M00:Restarts_RBV")
    os.kill(before, signal.SIGKILL)
    ioc.until("M00:State_RBV", "Failed")
    severe(ioc, "M00:State_RBV", 3)
    ioc.until("M00:Message_RBV", lambda text: text.startswith("killed by SIGKILL"))
    ioc.until("M00:State_RBV", "Receiving")
    ioc.until("M00:Restarts_RBV", restarts + 1)
    ioc.until("M00:Disk:Folder_RBV", "/tmp/kept/DET")
    ioc.until("M00:Zmq:On_RBV", "Off")
    ioc.until("M00:RunState_RBV", "Running")
    ioc.until("M00:Pid_RBV", lambda pid: pid not in (0, before))
    ioc.put("M00:Zmq:On", 1)
    ioc.put("M00:Disk:Folder", ioc.value("M01:Disk:Folder"))


def test_values_of_a_disabled_worker_do_not_look_alive(ioc: IocProcess) -> None:
    ioc.ask(
        M01, "set", **{"rates.frames_hz": 100.0, "pebble.in_use": 5, "disk.state": "Failing", "packets.received": 9}
    )
    severe(ioc, "M01:Disk:State_RBV", 2)
    ioc.put("M01:Run", 0)
    ioc.until("M01:State_RBV", "Off")
    ioc.until("M01:FrameRate_RBV", 0)
    ioc.until("M01:Pebble:InUse_RBV", 0)
    severe(ioc, "M01:Disk:State_RBV", 0)
    assert ioc.value("M01:PacketsReceived_RBV") == 9
    ioc.put("M01:Run", 1)
    ioc.until("M01:State_RBV", "Receiving")


def test_a_worker_that_fell_out_of_step_is_brought_along(ioc: IocProcess) -> None:
    ioc.ask(M01, "transition", service="Disable")
    ioc.until("M01:RunState_RBV", "Running")
    ioc.until("M01:RunState_RBV", "Enabled")


def test_a_worker_behind_does_not_hold_up_the_others(ioc: IocProcess) -> None:
    ioc.ask(CAM, "refuse", services=["Enable"])
    ioc.ask(CAM, "transition", service="Disable")
    ioc.put("Disable", 1)
    ioc.put("EndRun", 1)
    assert ioc.value("RunState_RBV") == "Configured"
    assert [ioc.ask(w, "status")["run_state"] for w in (M00, M01, CAM)] == ["Configured"] * 3
