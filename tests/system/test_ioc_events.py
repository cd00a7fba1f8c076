"""What an operator who comes later reads: events, the last warning, and the health with its severity."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ioc_process import IocProcess
from tests.support.ioc_setup import M00, M01, receiving, start, write_config
from tests.support.waiting import until

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def ioc(tmp_path_factory: pytest.TempPathFactory, runtime_dir: Path) -> Iterator[IocProcess]:
    with start(write_config(tmp_path_factory.mktemp("ioc"))) as process:
        receiving(process)  # the start of the last one is an event, too
        process.until("Health_RBV", "OK")
        yield process


def test_a_state_is_an_event_with_its_severity(ioc: IocProcess) -> None:
    before = ioc.value("Events_RBV")
    ioc.ask(M00, "set", state="Stalled")
    ioc.until("Event_RBV", lambda line: line.endswith(" Major M00:State_RBV: Receiving -> Stalled"))
    assert ioc.severity("Event_RBV") == 2
    ioc.ask(M00, "set", state="Receiving")
    ioc.until("Event_RBV", lambda line: line.endswith(" None M00:State_RBV: Stalled -> Receiving"))
    assert ioc.severity("Event_RBV") == 0
    ioc.until("Events_RBV", lambda events: events >= before + 2)


def test_the_health_has_the_severity_of_what_it_names_and_stands_still(ioc: IocProcess) -> None:
    lost = ioc.ask(M01, "status")["packets"]["lost"]
    ioc.ask(M01, "set", **{"packets.lost": lost + 3})
    text = ioc.until("Health_RBV", lambda text: text.startswith("M01:PacketsLostRecently_RBV: 3 packets"))
    assert ioc.severity("Health_RBV") == 1
    ioc.until("Event_RBV", lambda line: " Minor M01:PacketsLostRecently_RBV: 3 packets (" in line)
    ioc.ask(M01, "set", **{"packets.lost": lost + 7})
    ioc.until("M01:PacketsLostRecently_RBV", 7)
    assert ioc.value("Health_RBV") == text
    ioc.until("Event_RBV", lambda line: " None M01:PacketsLostRecently_RBV: ended: 0 packets (" in line)
    until(lambda: ioc.severity("Health_RBV"), lambda severity: severity == 0)


def test_a_refused_put_is_an_event_and_the_last_warning(ioc: IocProcess) -> None:
    ioc.refused("M00:Disk:Folder", "/etc")
    line = ioc.until("Event_RBV", lambda line: "M00:Disk:Folder: refused: " in line)
    assert " Minor " in line
    ioc.until("LastWarning_RBV", lambda text: "M00:Disk:Folder refused: folder: found '/etc'" in text)
    until(lambda: ioc.severity("LastWarning_RBV"), lambda severity: severity == 1)


def test_a_pulse_id_is_read_in_full_by_any_client(ioc: IocProcess) -> None:
    ioc.ask(M00, "set", pulse_id=(1 << 60) + 1)
    ioc.until("M00:PulseIdText_RBV", "1152921504606846977")
    assert "1152921504606846977" in ioc.caproto("get", f"{ioc.prefix}M00:PulseIdText_RBV")


def test_the_process_of_the_ioc_shows_its_statistics(ioc: IocProcess) -> None:
    ioc.until("IOC:CA_CLNT_CNT", lambda count: count >= 0)
    ioc.until("IOC:MEM_USED", lambda nbytes: nbytes > 0)
