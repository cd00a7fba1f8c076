"""The network interfaces of this host that have an IPv4 address."""

import fcntl
import socket
import struct
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Interface
from typing import Final

_SIOCGIFADDR: Final = 0x8915
_SIOCGIFNETMASK: Final = 0x891B


def interfaces() -> dict[str, IPv4Interface]:
    """Return the address and network of each interface, by name."""
    found: dict[str, IPv4Interface] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # no IPv4 address
                address, mask = (_ask(probe, request, name) for request in (_SIOCGIFADDR, _SIOCGIFNETMASK))
                found[name] = IPv4Interface(f"{address}/{mask}")
    return found


def _ask(probe: socket.socket, request: int, name: str) -> IPv4Address:
    """Return an address of an interface. Source: netdevice(7)."""
    answer = fcntl.ioctl(probe.fileno(), request, struct.pack("256s", name.encode()[:15]))
    return IPv4Address(answer[20:24])
