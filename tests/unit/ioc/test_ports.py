import socket
from ipaddress import IPv4Address

from ioc.ports import choose_interfaces, client_environment, ports_in_use
from tests.support.ports import free_ports


def test_a_port_in_use_is_named() -> None:
    free = free_ports(1)[0]
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = ports_in_use({"EPICS_CAS_SERVER_PORT": str(port), "EPICS_PVAS_SERVER_PORT": str(free)})
    assert len(found) == 1
    assert found[0].startswith(f"CA port {port}: Address already in use")
    assert "EPICS_CAS_SERVER_PORT" in found[0]


def test_the_client_variable_counts_where_the_server_has_none() -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port, free = taken.getsockname()[1], free_ports(1)[0]
        found = ports_in_use({"EPICS_CA_SERVER_PORT": str(free), "EPICS_PVA_SERVER_PORT": str(port)})
    assert [line.split(":")[0] for line in found] == [f"PVA port {port}"]


def test_clients_are_told_what_differs_from_the_defaults() -> None:
    environment = {"EPICS_CA_SERVER_PORT": "6064", "EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1", "PATH": "/bin"}
    assert client_environment(environment) == ["EPICS_CA_SERVER_PORT=6064"]


def test_chosen_interfaces_are_those_of_both_servers() -> None:
    environment = {"EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1"}
    choose_interfaces((), environment)
    assert environment == {"EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1"}
    choose_interfaces((IPv4Address("10.1.0.5"), IPv4Address("127.0.0.1")), environment)
    assert environment == dict.fromkeys(("EPICS_CAS_INTF_ADDR_LIST", "EPICS_PVAS_INTF_ADDR_LIST"), "10.1.0.5 127.0.0.1")
