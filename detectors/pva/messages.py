"""pvAccess's messages: their headers, and those that a client sends and reads to find, open and monitor a channel.

Source: the pvAccess protocol specification, version 2.
"""

import ipaddress
import struct
from enum import IntEnum
from typing import Final, NamedTuple

from detectors.pva.encoding import PvaError, Reader, encode_string

HEADER_BYTES: Final = 8

OUR_ID: Final = 1
"""Of the channel, the subscription and the search: a connection has one of each at most."""

SET_BYTE_ORDER: Final = 2  # a control message

MONITOR_INIT: Final = 0x08
MONITOR_START: Final = 0x44
MONITOR_FINISH: Final = 0x10

QUEUE: Final = 8
"""Updates that the server is asked to queue for us."""

_RECEIVE_BUFFER: Final = 1 << 20
"""Size of our receive buffer as announced to the server; old servers size their segments by it."""

_MAGIC: Final = 0xCA
_VERSION: Final = 2

_BIG_ENDIAN: Final = 0x80
_MAPPED: Final = b"\0" * 10 + b"\xff\xff"


class MessageCode(IntEnum):
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


class Header(NamedTuple):
    """The eight bytes before every message or segment."""

    command: int
    size: int
    """Bytes that follow; of a control message, its data."""
    big: bool = False
    control: bool = False
    """Whether it is a control message: a header alone."""
    first: bool = True
    """Whether the message starts with this segment."""
    last: bool = True


def read_header(data: bytes | memoryview) -> Header:
    """Return the header in ``data``, HEADER_BYTES long. Raises PvaError when it is not one."""
    magic, _version, flags, command = data[:4]
    if magic != _MAGIC:
        raise PvaError(f"pvAccess: found {magic:#04x} where a message starts, expected {_MAGIC:#04x}")
    big, segment = bool(flags & _BIG_ENDIAN), flags & 0x30  # 0x10: the first of several, 0x20: the last, 0x30: between
    size = int.from_bytes(data[4:8], "big" if big else "little")
    return Header(command, size, big, bool(flags & 1), first=segment in (0, 0x10), last=segment in (0, 0x20))


def message(command: int, codes: str, *values: int | bytes, tail: bytes = b"", big: bool) -> bytes:
    """Return a whole message of ours: ``values`` by struct's ``codes``, then ``tail``."""
    order = ">" if big else "<"
    body = struct.pack(order + codes, *values) + tail
    header = struct.pack(order + "BBBBI", _MAGIC, _VERSION, _BIG_ENDIAN if big else 0, command, len(body))
    return header + body


def validation(methods: list[str], user: str, host: str, *, big: bool) -> bytes:
    """Answer the server's greeting: as ``user`` at ``host`` if it offers the method "ca", else anonymously."""
    identity = b"\x09anonymous\xff"
    if "ca" in methods and user:
        values = encode_string(user, big=big) + encode_string(host, big=big)
        identity = b"\x02ca\x80\0\2\x04user\x60\x04host\x60" + values
    return message(MessageCode.VALIDATION, "IHH", _RECEIVE_BUFFER, 0x7FFF, 0, tail=identity, big=big)


def monitor_init(server_id: int, *, big: bool) -> bytes:
    """Ask for a subscription to all fields, with ``record[queueSize=...]``."""
    request = b"\x80\0\2\x06record\x80\0\1\x08_options\x80\0\1\x09queueSize\x60\x05field\x80\0\0"
    queue = encode_string(str(QUEUE), big=big)
    return message(MessageCode.MONITOR, "IIB", server_id, OUR_ID, MONITOR_INIT, tail=request + queue, big=big)


class Found(NamedTuple):
    """A search's answer that names the server of our PV."""

    host: str
    """"" stands for the sender's address."""
    port: int


def search_request(sequence: int, name: str, port: int, *, unicast: bool, big: bool = False) -> bytes:
    """Search for ``name``; over UDP, answers go to ``port`` of the sender's address."""
    values = sequence, 0x80 if unicast else 0, port, b"\1\3tcp", 1, OUR_ID
    return message(MessageCode.SEARCH, "IB19xH5sHI", *values, tail=encode_string(name, big=big), big=big)


def parse_search_datagram(data: bytes) -> Found | None:
    """Return the answer to our search in a datagram; None when it holds something else. Raises PvaError."""
    if len(data) < HEADER_BYTES:
        raise PvaError(f"pvAccess: found a datagram of {len(data)} bytes, expected a header of {HEADER_BYTES}")
    header = read_header(data)
    if header.control or header.command != MessageCode.SEARCH_RESPONSE:
        return None
    if header.size > len(data) - HEADER_BYTES:
        raise PvaError(f"pvAccess: found a datagram of {len(data)} bytes, expected {HEADER_BYTES + header.size}")
    return read_search_response(Reader(data[HEADER_BYTES : HEADER_BYTES + header.size], big=header.big))


def read_search_response(reader: Reader) -> Found | None:
    """Return the server that a search response names; None when it is about another search, or found nothing."""
    reader.take(16)  # the server's GUID, and a sequence number
    address, port = bytes(reader.take(16)), reader.number("H")
    protocol, found = reader.string(), reader.u8()
    ids = [reader.number("I") for _ in range(reader.number("H"))]
    return Found(_host(address), port) if found and protocol == "tcp" and OUR_ID in ids else None


def _host(address: bytes) -> str:
    if address in (bytes(16), _MAPPED + bytes(4)):
        return ""
    if address.startswith((_MAPPED, bytes(12))):  # pvAccessJava writes IPv4 addresses behind zeros
        return str(ipaddress.IPv4Address(address[12:]))
    return str(ipaddress.IPv6Address(address))
