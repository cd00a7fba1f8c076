"""Who may write which record, over Channel Access and PV Access."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from p4p.client.thread import RemoteError

from tests.support.ioc_process import IocProcess
from tests.support.ioc_setup import start, write_config

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


def refused(ioc: IocProcess, name: str, value: Any) -> str:
    with pytest.raises(RemoteError) as error:
        ioc.put(name, value)
    return str(error.value)


@pytest.mark.parametrize(("name", "value"), READINGS)
def test_a_reading_refuses_puts_over_pva_of_experts_too(ioc: IocProcess, name: str, value: Any) -> None:
    before = ioc.value(name)
    assert refused(ioc, name, value) == "Put not permitted"
    with pytest.raises(RemoteError, match="Put not permitted"):
        ioc.put(name, value, wait=False)
    assert ioc.value(name) == before or name == "Heartbeat_RBV"


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
    others.put("M00:Disk:Enable", 0)
    others.until("M00:Disk:Enable_RBV", "Disabled")
    others.put("M00:Disk:Enable", 1)
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
        before = others.value(name)
        assert refused(others, name, value) == "Put not permitted"
        assert others.value(name) == before


def test_over_ca_an_expert_is_known_by_account_and_address(ioc: IocProcess, others: IocProcess) -> None:
    puts = [("Retention:KeepHours", 5.0), ("Disk:Enable", "Enable"), ("Disk:Enable", "Disable")]
    script = PYEPICS.replace("{puts!r}", repr(puts))
    assert [line.split()[1] for line in ioc.python(script).splitlines()] == ["1", "1", "1"]
    assert [line.split()[1] for line in others.python(script).splitlines()] == ["no", "1", "1"]
    for running in (ioc, others):
        running.put("Disk:Enable", 1)


def test_an_access_file_that_is_wrong_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "own.acf").write_text("ASG(READING) { RULE(1 }\n")
    for path in ("own.acf", "none.acf"):
        with pytest.raises(AssertionError, match=f"ioc.access_file: EPICS refused {tmp_path}/{path}"):
            start(write_config(tmp_path, f'[ioc]\naccess_file = "{tmp_path}/{path}"\n')).__enter__()
