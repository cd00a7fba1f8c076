"""What a client takes from its surroundings: where to search (EPICS_PVA_* variables), and the account it runs as."""

import fcntl
import getpass
import ipaddress
import logging
import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

log = logging.getLogger(__name__)

Address = tuple[str, int]

_SIOCGIFBRDADDR: Final = 0x8919
_PORTS: Final = range(1, 65536)


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
    udp_port = _port(environment, "EPICS_PVA_BROADCAST_PORT", 5076)
    tcp_port = _port(environment, "EPICS_PVA_SERVER_PORT", 5075)
    listed = _addresses(environment, "EPICS_PVA_ADDR_LIST", udp_port)
    interfaces = dict.fromkeys(interface_broadcasts(), udp_port)
    broadcast = [a for a in listed if a[0] in interfaces or _is_group(a[0])]
    unicast = [a for a in listed if a not in broadcast]
    if environment.get("EPICS_PVA_AUTO_ADDR_LIST", "YES").strip().upper() not in ("NO", "0", "FALSE"):
        broadcast += interfaces.items()
        unicast.append(("127.0.0.1", udp_port))  # for servers on a host without a network
    return SearchAddresses(
        tuple(dict.fromkeys(unicast)),
        tuple(dict.fromkeys(broadcast)),
        tuple(dict.fromkeys(_addresses(environment, "EPICS_PVA_NAME_SERVERS", tcp_port))),
        _seconds(environment, "EPICS_PVA_CONN_TMO", 30.0),
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
            if number not in _PORTS:
                raise ValueError("no such port")
            found.append((socket.gethostbyname(host), number))
        except (ValueError, OSError) as error:
            log.warning("%s: left out %r, expected host or host:port (%s)", name, word, error)
    return found


def _port(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "").strip()
    if not text:
        return default
    if text.isdecimal() and int(text) in _PORTS:
        return int(text)
    log.warning("%s: found %r, expected a port number; using %d", name, text, default)
    return default


def _seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name, "").strip()
    try:
        value = float(text or default)
    except ValueError:
        value = 0.0
    if 1.0 <= value < 86400.0:
        return value
    log.warning("%s: found %r, expected 1 to 86400 s; using %g s", name, text, default)
    return default


def _is_group(host: str) -> bool:
    address = ipaddress.ip_address(host)
    return address.is_multicast or host == "255.255.255.255"
