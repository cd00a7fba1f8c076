"""pvAccess's messages: their headers, and those that a client sends and reads to find, open and monitor a channel.

Source: the pvAccess protocol specification, version 2.
"""

import ipaddress
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from detectors.pva.encoding import Packer, PvaError, Reader

MAGIC: Final = 0xCA
VERSION: Final = 2
HEADER_BYTES: Final = 8

CONTROL: Final = 0x01
SEGMENT_MASK: Final = 0x30
SEGMENT_FIRST: Final = 0x10
SEGMENT_LAST: Final = 0x20
BIG_ENDIAN: Final = 0x80

SET_BYTE_ORDER: Final = 2  # a control message

MONITOR_INIT: Final = 0x08
MONITOR_START: Final = 0x44
MONITOR_FINISH: Final = 0x10

RECEIVE_BUFFER: Final = 1 << 20
"""Size of our receive buffer as announced to the server; old servers size their segments by it."""

_UNICAST: Final = 0x80
_ANY_ADDRESS: Final = bytes(16)
_MAPPED: Final = b"\0" * 10 + b"\xff\xff"


class Command(IntEnum):
    """Application messages that we send or read."""

    VALIDATION = 1
    ECHO = 2
    SEARCH = 3
    SEARCH_RESPONSE = 4
    CREATE_CHANNEL = 7
    DESTROY_CHANNEL = 8
    VALIDATED = 9
    MONITOR = 13
    DESTROY_REQUEST = 15
    MESSAGE = 18


@dataclass(frozen=True, slots=True)
class Header:
    """The eight bytes before every message or segment."""

    flags: int
    command: int
    size: int
    """Bytes that follow; of a control message, its data."""

    @property
    def big(self) -> bool:
        """Whether the message is big-endian."""
        return bool(self.flags & BIG_ENDIAN)

    @property
    def control(self) -> bool:
        """Whether it is a control message: a header alone."""
        return bool(self.flags & CONTROL)

    @property
    def last(self) -> bool:
        """Whether the message ends with this segment."""
        return self.flags & SEGMENT_MASK in (0, SEGMENT_LAST)

    @property
    def first(self) -> bool:
        """Whether the message starts with this segment."""
        return self.flags & SEGMENT_MASK in (0, SEGMENT_FIRST)


def read_header(data: bytes | bytearray | memoryview) -> Header:
    """Return the header in ``data``, HEADER_BYTES long. Raises PvaError when it is not one."""
    magic, _version, flags, command = data[0], data[1], data[2], data[3]
    if magic != MAGIC:
        raise PvaError(f"pvAccess: found {magic:#04x} where a message starts, expected {MAGIC:#04x}")
    size = int.from_bytes(data[4:8], "big" if flags & BIG_ENDIAN else "little")
    return Header(flags, command, size)


def message(command: int, body: bytes, *, big: bool, flags: int = 0) -> bytes:
    """Return a whole message of ours."""
    flags |= BIG_ENDIAN if big else 0
    return struct.pack(">BBBBI" if big else "<BBBBI", MAGIC, VERSION, flags, command, len(body)) + body


def validation(methods: list[str], user: str, host: str, *, big: bool) -> bytes:
    """Answer the server's greeting: as ``user`` at ``host`` if it offers the method "ca", else anonymously."""
    body = Packer(big=big).pack("IHH", RECEIVE_BUFFER, 0x7FFF, 0)
    if "ca" in methods and user:
        body.string("ca").raw(b"\x80").string("").size(2)
        body.string("user").raw(b"\x60").string("host").raw(b"\x60")
        body.string(user).string(host)
    else:
        body.string("anonymous").raw(b"\xff")
    return message(Command.VALIDATION, body.done(), big=big)


def read_validation(reader: Reader) -> list[str]:
    """Return the methods of authentication that the server offers."""
    reader.number("I")
    reader.number("H")
    return [reader.string() for _ in range(reader.count())]


def monitor_init(server_id: int, request_id: int, queue: int, *, big: bool) -> bytes:
    """Ask for a subscription to all fields, with ``record[queueSize=...]``."""
    body = Packer(big=big).pack("IIB", server_id, request_id, MONITOR_INIT)
    body.raw(b"\x80").string("").size(2)
    body.string("record").raw(b"\x80").string("").size(1)
    body.string("_options").raw(b"\x80").string("").size(1).string("queueSize").raw(b"\x60")
    body.string("field").raw(b"\x80").string("").size(0)
    return message(Command.MONITOR, body.string(str(queue)).done(), big=big)


@dataclass(frozen=True, slots=True)
class Found:
    """A search's answer that names the server of our PV."""

    host: str
    """"" stands for the address that the answer came from."""
    port: int


def search_request(sequence: int, search_id: int, name: str, port: int, *, unicast: bool, big: bool = False) -> bytes:
    """Ask who serves ``name``; over UDP, answers go to ``port`` of the sender's address."""
    body = Packer(big=big).pack("IB", sequence, _UNICAST if unicast else 0).raw(bytes(3)).raw(_ANY_ADDRESS)
    body.pack("H", port).size(1).string("tcp").pack("HI", 1, search_id).string(name)
    return message(Command.SEARCH, body.done(), big=big)


def parse_search_datagram(data: bytes | memoryview, search_id: int) -> Found | None:
    """Return the answer to our search in a datagram; None when it holds something else. Raises PvaError."""
    if len(data) < HEADER_BYTES:
        raise PvaError(f"pvAccess: found a datagram of {len(data)} bytes, expected a header of {HEADER_BYTES}")
    header = read_header(data)
    if header.control or header.command != Command.SEARCH_RESPONSE:
        return None
    if header.size > len(data) - HEADER_BYTES:
        raise PvaError(f"pvAccess: found a datagram of {len(data)} bytes, expected {HEADER_BYTES + header.size}")
    return read_search_response(Reader(data[HEADER_BYTES : HEADER_BYTES + header.size], big=header.big), search_id)


def read_search_response(reader: Reader, search_id: int) -> Found | None:
    """Return the server that a search response names; None when it is about another search, or found nothing."""
    reader.take(12)  # the server's GUID
    reader.number("I")
    address, port = bytes(reader.take(16)), reader.number("H")
    protocol, found = reader.string(), reader.u8()
    ids = [reader.number("I") for _ in range(reader.number("H"))]
    if not found or protocol != "tcp" or search_id not in ids:
        return None
    return Found(_host(address), port)


def _host(address: bytes) -> str:
    if address in (_ANY_ADDRESS, _MAPPED + bytes(4)):
        return ""
    if address.startswith((_MAPPED, bytes(12))):  # pvAccessJava writes IPv4 addresses behind zeros
        return str(ipaddress.IPv4Address(address[12:]))
    return str(ipaddress.IPv6Address(address))
