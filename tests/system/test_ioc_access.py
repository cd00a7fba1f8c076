"""Who may write which record, over Channel Access and PV Access."""

import os
import pwd
import time
from collections.abc import Iterator
from math import isnan
from pathlib import Path
from typing import Any

import pytest
from p4p.client.thread import RemoteError

from tests.support.ioc_process import IocProcess
from tests.support.ioc_setup import start, write_config
from tests.support.waiting import until

READINGS: tuple[tuple[str, Any], ...] = (
    ("M00:PacketsLost_RBV", 123456),
    ("M00:FrameRate_RBV", 1.5),
    ("M00:State_RBV", "Failed"),
    ("M00:Running_RBV", "No"),
    ("Health_RBV", "all is lost"),
    ("Version_RBV", "x"),
    ("Heartbeat_RBV", 7),
    ("M00:PacketsLost_RBV.SCAN", "Passive"),
    ("M00:PacketsLost_RBV.DESC", "x"),
    ("Health_RBV.DESC", "x"),
    ("AcquireBusy", "Busy"),
)

PYEPICS = """
import epics
for name, value in {puts!r}:
    pv = epics.PV(P + name)
    assert pv.wait_for_connection(10), name
    before = pv.get(as_string=True, use_monitor=False)
    try:
        done = epics.caput(P + name, value, wait=True, timeout=10)
    except epics.ca.CASeverityException:
        done = "refused"
    same = pv.get(as_string=True, use_monitor=False) == before
    print(name, done if pv.write_access else "no access", same or name.startswith("Heartbeat"))
epics.ca.finalize_libca()
"""


@pytest.fixture(scope="module")
def ioc(tmp_path_factory: pytest.TempPathFactory, runtime_dir: Path) -> Iterator[IocProcess]:
    """An IOC whose experts are the account and the host of these tests, as it is shipped."""
    with start(write_config(tmp_path_factory.mktemp("access"))) as running:
        running.until("M00:State_RBV", "Receiving")
        yield running


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory, runtime_dir: Path) -> Iterator[IocProcess]:
    """An IOC to which these tests are operators: its access file names another expert."""
    folder = tmp_path_factory.mktemp("others")
    shipped = (Path(__file__).parents[2] / "db" / "pebbledaq.acf").read_text()
    (folder / "own.acf").write_text(shipped.replace('"$(USER)"', '"nobody-of-that-name"'))
    with start(write_config(folder, f'[ioc]\naccess_file = "{folder}/own.acf"\n')) as running:
        running.until("M00:State_RBV", "Receiving")
        yield running


def not_permitted(ioc: IocProcess, name: str, value: Any) -> None:
    before = ioc.value(name)
    for wait in (True, False):
        with pytest.raises(RemoteError, match=r"^Put not permitted$"):
            ioc.put(name, value, wait=wait)
    assert ioc.value(name) == before or name == "Heartbeat_RBV"


@pytest.mark.parametrize(("name", "value"), READINGS)
def test_a_reading_refuses_puts_over_pva_of_experts_too(ioc: IocProcess, name: str, value: Any) -> None:
    not_permitted(ioc, name, value)


def test_a_reading_refuses_puts_over_ca_of_experts_too(ioc: IocProcess) -> None:
    lines = ioc.python(PYEPICS.replace("{puts!r}", repr(READINGS))).splitlines()
    assert lines == [f"{name} no access True" for name, _ in READINGS]
    for name, value in READINGS[:4]:
        done = ioc.caproto("put", ioc.prefix + name, repr(value))
        assert "Write access denied" in done, name


def test_an_expert_sets_alarm_limits(ioc: IocProcess) -> None:
    ioc.put("M00:PacketsLostRecently_RBV.HIHI", 77)
    assert ioc.value("M00:PacketsLostRecently_RBV.HIHI") == 77
    ioc.put("M00:State_RBV.THSV", "MINOR")
    assert ioc.value("M00:State_RBV.THSV") == "MINOR"
    assert ioc.python(PYEPICS.replace("{puts!r}", repr([("M00:PacketsLostRecently_RBV.HIGH", 3)]))) == (
        "M00:PacketsLostRecently_RBV.HIGH 1 False\n"
    )


def test_an_operator_has_what_an_experiment_needs_and_no_more(others: IocProcess) -> None:
    others.put("M00:Disk:On", 0)
    others.until("M00:Disk:On_RBV", "Off")
    others.put("M00:Disk:On", 1)
    others.put("Disable", 1)
    others.put("Enable", 1)
    for name, value in (
        ("Disk:Folder", "/tmp/x"),
        ("M00:Disk:Folder", "/tmp/x"),
        ("Retention:KeepHours", 1.0),
        ("M00:PacketsLostRecently_RBV.HIGH", 3),
        ("M00:PacketsLost_RBV", 3),
        ("Acquire.DESC", "x"),
        ("Acquire.ASG", "DEFAULT"),
        ("M00:PacketsLost_RBV.ASG", "OPERATOR"),
    ):
        not_permitted(others, name, value)


def test_over_ca_an_expert_is_known_by_account_and_address(ioc: IocProcess, others: IocProcess) -> None:
    puts = [("Retention:KeepHours", 5.0), ("Disk:On", "On"), ("Disk:On", "Off")]
    script = PYEPICS.replace("{puts!r}", repr(puts))
    assert [line.split()[1] for line in ioc.python(script).splitlines()] == ["1", "1", "1"]
    assert [line.split()[1] for line in others.python(script).splitlines()] == ["no", "1", "1"]
    for running in (ioc, others):
        running.put("Disk:On", 1)


def test_every_put_is_logged_with_its_user_and_host(ioc: IocProcess) -> None:
    user = pwd.getpwuid(os.geteuid()).pw_name
    ioc.put("M00:Disk:On", 0)
    ioc.caproto("put", ioc.prefix + "M00:Disk:On", "1")
    ioc.put("Retention:KeepHours", 7.0)
    ioc.caproto("put", ioc.prefix + "M00:PacketsLostRecently_RBV.HIGH", "9")
    ioc.put("Acquire.DESC", "a text")
    ioc.refused("M00:Disk:Folder", "/etc")
    puts = until(
        lambda: [
            line.partition(ioc.prefix)[2] for line in ioc.lines if " INFO " in line and line.endswith("@127.0.0.1")
        ],
        lambda found: found[-1].startswith("M00:Disk:Folder: "),
    )
    assert [line.removesuffix(f" by {user}@127.0.0.1") for line in puts[-6:]] == [
        "M00:Disk:On: On -> Off",
        "M00:Disk:On: Off -> On",
        "Retention:KeepHours: 5.0 -> 7.0",
        "M00:PacketsLostRecently_RBV.HIGH: 3 -> 9",
        "Acquire.DESC: Start or stop data taking -> a text",
        f"M00:Disk:Folder: '{ioc.value('M00:Disk:Folder')}' -> '/etc'",
    ]


REFUSED: tuple[tuple[str, Any, str], ...] = (
    ("Acquire", 7, "found 7, expected one of Done, Acquire"),
    ("M00:Disk:On", 2, "found 2, expected one of Off, On"),
    ("Configure", 1, "Configure refused: the run is Enabled; legal now: Disable"),
    ("Disk:Folder", "/etc", "folder: found '/etc', expected a place below the roots"),
    ("Retention:KeepHours", -1.0, "found -1.0, expected 0 to 1000000"),
    ("Retention:KeepSize", 1e308, "found 1e+308, expected 0 to 1000000000"),
    ("Retention:KeepFree", float("nan"), "found nan, expected a number"),
    ("Retention:KeepFree", 1e9, "found 1000000000.0 GiB to keep free"),
)


@pytest.mark.parametrize(("name", "value", "reason"), REFUSED)
def test_a_refused_put_is_an_error_an_alarm_and_a_reason(ioc: IocProcess, name: str, value: Any, reason: str) -> None:
    before, count = ioc.value(name), ioc.value("Refused_RBV")
    assert ioc.refused(name, value).startswith(reason)
    ioc.until("Refused_RBV", count + 1)
    assert ioc.value(name) == before
    alarm = ioc.pva.get(ioc.prefix + name).alarm
    assert (alarm.severity, alarm.message[:30]) == (1, reason[:30])
    assert ioc.value(f"{name}.STAT") == "WRITE"
    assert ioc.value("RunState_RBV") == "Enabled"


@pytest.mark.parametrize("name", ["M00:Disk:On", "Disk:Folder", "Retention:KeepHours"])
def test_the_alarm_of_a_refused_put_lasts_until_the_next_good_one(ioc: IocProcess, name: str) -> None:
    before = ioc.value(name)
    ioc.refused(name, {"M00:Disk:On": 9, "Disk:Folder": "/etc", "Retention:KeepHours": -1.0}[name])
    time.sleep(1.2)  # the IOC shows its values twice a second
    assert ioc.severity(name) == 1
    ioc.put(name, before)  # also when it changes nothing
    assert ioc.severity(name) == 0
    assert ioc.value("Message_RBV") == ""


def test_a_refused_put_is_an_error_over_ca(ioc: IocProcess) -> None:
    script = (
        "from caproto.sync.client import write\n"
        "for name, value in {puts!r}:\n"
        "    print(write(P + name, value, notify=True, timeout=10, repeater=False).status.name)\n"
    )
    puts = [(name, value) for name, value, _ in REFUSED if isinstance(value, int | float) and not isnan(value)]
    assert set(ioc.python(script.replace("{puts!r}", repr(puts))).split()) == {"ECA_PUTFAIL"}
    # Without completion the client hears of what is refused at once.
    for name, value in (("Acquire", "7"), ("M00:Disk:On", "2"), ("Retention:KeepHours", "-1.0")):
        assert "Channel write request failed" in ioc.caproto("put", ioc.prefix + name, value), name


def test_a_refused_acquire_is_not_waited_for(ioc: IocProcess) -> None:
    assert ioc.value("RunState_RBV") == "Enabled"
    ioc.refused("Acquire", 7)
    ioc.put("Acquire", 1, wait=False)
    assert ioc.value("RunState_RBV") == "Enabled"


def test_an_access_file_that_is_wrong_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "own.acf").write_text("ASG(READING) { RULE(1 }\n")
    for path in ("own.acf", "none.acf"):
        with pytest.raises(AssertionError, match=f"ioc.access_file: EPICS refused {tmp_path}/{path}"):
            start(write_config(tmp_path, f'[ioc]\naccess_file = "{tmp_path}/{path}"\n')).__enter__()
