import logging

import pytest

from detectors.pva import environment
from detectors.pva.environment import search_addresses


@pytest.fixture(autouse=True)
def one_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "interface_broadcasts", lambda: ["10.1.255.255"])


def test_without_variables_every_interface_is_asked() -> None:
    found = search_addresses({})
    assert found.broadcast == (("10.1.255.255", 5076),)
    assert found.unicast == (("127.0.0.1", 5076),)
    assert (found.name_servers, found.connection_timeout_s) == ((), 30.0)


def test_lists_ports_and_groups() -> None:
    found = search_addresses(
        {
            "EPICS_PVA_ADDR_LIST": "10.0.0.1 10.0.0.2:7 10.1.255.255, 224.0.0.9 10.0.0.1",
            "EPICS_PVA_AUTO_ADDR_LIST": "no",
            "EPICS_PVA_BROADCAST_PORT": "6000",
            "EPICS_PVA_SERVER_PORT": "6001",
            "EPICS_PVA_NAME_SERVERS": "10.0.0.3 10.0.0.4:9",
            "EPICS_PVA_CONN_TMO": "5",
        }
    )
    assert found.unicast == (("10.0.0.1", 6000), ("10.0.0.2", 7))
    assert found.broadcast == (("10.1.255.255", 6000), ("224.0.0.9", 6000))
    assert found.name_servers == (("10.0.0.3", 6001), ("10.0.0.4", 9))
    assert found.connection_timeout_s == 5.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EPICS_PVA_ADDR_LIST", "10.0.0.1:99999"),
        ("EPICS_PVA_ADDR_LIST", "10.0.0.1:x"),
        ("EPICS_PVA_BROADCAST_PORT", "0"),
        ("EPICS_PVA_SERVER_PORT", "many"),
        ("EPICS_PVA_CONN_TMO", "soon"),
        ("EPICS_PVA_CONN_TMO", "nan"),
    ],
)
def test_what_makes_no_sense_is_left_out_and_told(name: str, value: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = search_addresses({name: value})
    assert name in caplog.text
    assert found == search_addresses({})
