"""Finding the server of a PV: search messages and their answers, the same over UDP and TCP."""

import ipaddress
from dataclasses import dataclass
from typing import Final

from detectors.errors import WireError
from detectors.wire.pva_codec import Reader, Writer
from detectors.wire.pva_messages import HEADER_BYTES, Command, message, read_header

_UNICAST: Final = 0x80
_ANY: Final = bytes(16)
_MAPPED: Final = b"\0" * 10 + b"\xff\xff"


@dataclass(frozen=True, slots=True)
class Found:
    """An answer that names our PV's server."""

    host: str
    """Address of the server; "" stands for where the answer came from."""
    port: int


def search_request(sequence: int, search_id: int, name: str, port: int, *, unicast: bool, big: bool = False) -> bytes:
    """Ask who serves ``name``; answers go to ``port`` of whoever sends this."""
    body = Writer(big=big).pack("IB", sequence, _UNICAST if unicast else 0).raw(bytes(3)).raw(_ANY)
    body.pack("H", port).size(1).string("tcp").pack("HI", 1, search_id).string(name)
    return message(Command.SEARCH, body.done(), big=big)


def parse_search_datagram(data: bytes | memoryview, search_id: int) -> Found | None:
    """Return what a datagram says of our search; None when it is about something else. Raises WireError."""
    if len(data) < HEADER_BYTES:
        raise WireError(f"pvAccess: found a datagram of {len(data)} bytes, expected a header of {HEADER_BYTES}")
    header = read_header(data)
    if header.control or header.command != Command.SEARCH_RESPONSE:
        return None
    if header.size > len(data) - HEADER_BYTES:
        raise WireError(f"pvAccess: found a datagram of {len(data)} bytes, expected {HEADER_BYTES + header.size}")
    return read_search_response(Reader(data[HEADER_BYTES : HEADER_BYTES + header.size], big=header.big), search_id)


def read_search_response(reader: Reader, search_id: int) -> Found | None:
    """Return what a search response says of our search."""
    reader.take(12)  # the server's GUID
    reader.number("I")
    address, port = bytes(reader.take(16)), reader.number("H")
    protocol, found = reader.string(), reader.u8()
    ids = [reader.number("I") for _ in range(reader.number("H"))]
    if not found or protocol != "tcp" or search_id not in ids:
        return None
    return Found(_host(address), port)


def _host(address: bytes) -> str:
    if address == _ANY or address == _MAPPED + bytes(4):
        return ""
    if address.startswith(_MAPPED):
        return str(ipaddress.IPv4Address(address[12:]))
    if address.startswith(bytes(12)):  # pvAccessJava's way to write an IPv4 address
        return str(ipaddress.IPv4Address(address[12:]))
    return str(ipaddress.IPv6Address(address))
