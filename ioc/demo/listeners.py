"""Who listens on this host, as the kernel's table of sockets says: a probe of our own would be in a receiver's way."""

import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from detectors.interfaces import interfaces

_TABLE: Final = Path("/proc/net/udp")


def silent(addresses: Iterable[str], table: Path = _TABLE) -> list[str]:
    """Return those of ``host:port`` that are addresses of this host and that no UDP socket is bound to."""
    bound = set(_bound(table.read_text()))
    found: list[str] = []
    for address in addresses:
        host, _, port = address.rpartition(":")
        if _is_here(host) and not bound & {(host, int(port)), ("0.0.0.0", int(port))}:  # noqa: S104
            found.append(address)
    return found


def _bound(table: str) -> Iterator[tuple[str, int]]:
    """Yield address and port of each socket in the text of ``/proc/net/udp``."""
    for line in table.splitlines()[1:]:
        host, _, port = line.split()[1].partition(":")
        yield socket.inet_ntoa(int(host, 16).to_bytes(4, "little")), int(port, 16)


def _is_here(host: str) -> bool:
    return host.startswith("127.") or any(str(interface.ip) == host for interface in interfaces().values())
