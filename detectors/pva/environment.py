"""What a client takes from its surroundings: where to search (EPICS_PVA_* variables), and the account it runs as."""

import fcntl
import getpass
import ipaddress
import logging
import math
import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

log = logging.getLogger(__name__)

Address = tuple[str, int]

_SIOCGIFBRDADDR: Final = 0x8919
_MAX_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class SearchAddresses:
    """Where searches go, and the connection time-out."""

    unicast: tuple[Address, ...]
    broadcast: tuple[Address, ...]
    """Broadcast and multicast addresses."""
    name_servers: tuple[Address, ...]
    """Searched over TCP."""
    connection_timeout_s: float
    """Silence after which a connection is closed; after half of it, an echo is sent."""


def search_addresses(environment: Mapping[str, str] = os.environ) -> SearchAddresses:
    """Read EPICS_PVA_ADDR_LIST, _AUTO_ADDR_LIST, _BROADCAST_PORT, _NAME_SERVERS, _SERVER_PORT and _CONN_TMO.

    Invalid words are logged and left out.
    """
    udp_port = int(_number(environment, "EPICS_PVA_BROADCAST_PORT", 5076, 1, _MAX_PORT))
    tcp_port = int(_number(environment, "EPICS_PVA_SERVER_PORT", 5075, 1, _MAX_PORT))
    listed = _addresses(environment, "EPICS_PVA_ADDR_LIST", udp_port)
    interfaces = dict.fromkeys(interface_broadcasts(), udp_port)
    to_many = {"255.255.255.255", *interfaces}
    broadcast = [a for a in listed if a[0] in to_many or ipaddress.ip_address(a[0]).is_multicast]
    unicast = [a for a in listed if a not in broadcast]
    if environment.get("EPICS_PVA_AUTO_ADDR_LIST", "YES").strip().upper() not in ("NO", "0", "FALSE"):
        broadcast += interfaces.items()
        unicast.append(("127.0.0.1", udp_port))  # for servers on a host without a network
    return SearchAddresses(
        tuple(dict.fromkeys(unicast)),
        tuple(dict.fromkeys(broadcast)),
        tuple(dict.fromkeys(_addresses(environment, "EPICS_PVA_NAME_SERVERS", tcp_port))),
        _number(environment, "EPICS_PVA_CONN_TMO", 30.0, 1.0, 86400.0),
    )


def interface_broadcasts() -> list[str]:
    """Return the broadcast address of every interface that has one."""
    found: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFBRDADDR, request)
            except OSError:
                continue  # no IPv4 address, or point to point
            host = socket.inet_ntoa(answer[20:24])
            if host != "0.0.0.0":  # noqa: S104 - what a loopback interface answers
                found.append(host)
    return found


def identity() -> tuple[str, str]:
    """Return user and host for the authentication method "ca"; the user is "" where the account has no name."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = ""
    return user, socket.gethostname()


def _addresses(environment: Mapping[str, str], name: str, default_port: int) -> list[Address]:
    found: list[Address] = []
    for word in environment.get(name, "").replace(",", " ").split():
        host, colon, port = word.partition(":")
        try:
            number = int(port) if colon else default_port
            if not 1 <= number <= _MAX_PORT:
                raise ValueError("no such port")
            found.append((socket.gethostbyname(host), number))
        except (ValueError, OSError) as error:
            log.warning("%s: left out %r, expected host or host:port (%s)", name, word, error)
    return found


def _number(environment: Mapping[str, str], name: str, default: float, least: float, most: float) -> float:
    text = environment.get(name, "").strip()
    try:
        value = float(text or default)
    except ValueError:
        value = math.nan
    if least <= value <= most:
        return value
    log.warning("%s: found %r, expected %g to %g; using %g", name, text, least, most, default)
    return default
