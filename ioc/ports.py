"""Ports of this IOC's servers, and the environment variables that clients need to find them."""

import os
import socket
from collections.abc import Iterable, Mapping, MutableMapping
from ipaddress import IPv4Address
from typing import Final

from detectors.workers.preflight.addresses import EPICS_SERVERS

_CLIENT_VARIABLES: Final = (
    "EPICS_CA_ADDR_LIST",
    "EPICS_CA_AUTO_ADDR_LIST",
    "EPICS_CA_SERVER_PORT",
    "EPICS_CA_REPEATER_PORT",
    "EPICS_PVA_ADDR_LIST",
    "EPICS_PVA_AUTO_ADDR_LIST",
    "EPICS_PVA_SERVER_PORT",
    "EPICS_PVA_BROADCAST_PORT",
)


def client_environment(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the variables that a client in another terminal must set; none with EPICS's defaults."""
    return [f"{name}={environment[name]}" for name in _CLIENT_VARIABLES if environment.get(name)]


def choose_interfaces(chosen: Iterable[IPv4Address], environment: MutableMapping[str, str] = os.environ) -> None:
    """Let EPICS serve on these addresses only; without any, on those that the environment says. Before EPICS is loaded."""
    if addresses := " ".join(map(str, chosen)):
        environment.update({server.interfaces_variable: addresses for server in EPICS_SERVERS})


def ports_in_use(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return a line for each server port that another program uses.

    EPICS then takes another TCP port without a message: clients that search still find the records, clients that connect
    to the configured port do not.
    """
    found: list[str] = []
    for server in EPICS_SERVERS:
        port = server.port(environment)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError as error:
                found.append(
                    f"{server.protocol} port {port}: {error.strerror}; EPICS takes another TCP port, which clients find by "
                    f"searching; set {server.port_variables[0]} to give this IOC one of its own"
                )
    return found
