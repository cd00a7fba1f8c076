"""An EPICS of one's own: loopback only, on free ports, with nothing inherited."""

import os

import pytest

from tests.support.ports import free_ports


def epics_variables() -> dict[str, str]:
    """EPICS_* for servers and clients that shall meet one another and nobody else."""
    ca, repeater, pva, broadcast = map(str, free_ports(4))
    return {
        "EPICS_CA_SERVER_PORT": ca,
        "EPICS_CAS_SERVER_PORT": ca,
        "EPICS_CA_REPEATER_PORT": repeater,
        "EPICS_CAS_BEACON_PORT": repeater,
        "EPICS_CA_ADDR_LIST": "127.0.0.1",
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1",
        "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
        "EPICS_CA_MAX_ARRAY_BYTES": "64000000",
        "EPICS_PVA_SERVER_PORT": pva,
        "EPICS_PVAS_SERVER_PORT": pva,
        "EPICS_PVA_BROADCAST_PORT": broadcast,
        "EPICS_PVAS_BROADCAST_PORT": broadcast,
        "EPICS_PVA_ADDR_LIST": "127.0.0.1",
        "EPICS_PVA_AUTO_ADDR_LIST": "NO",
        "EPICS_PVAS_INTF_ADDR_LIST": "127.0.0.1",
        "EPICS_PVAS_BEACON_ADDR_LIST": "127.0.0.1",
        "EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "NO",
    }


def isolate(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Give this process, and the children it starts, an EPICS of their own."""
    for name in [n for n in os.environ if n.startswith(("EPICS_", "CAPROTO_"))]:
        monkeypatch.delenv(name)
    variables = epics_variables()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables
