"""pvAccess's messages: their headers, those that a monitoring client sends, and those that it reads whole.

Source: the pvAccess protocol specification, version 2.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from detectors.errors import WireError
from detectors.wire.pva_codec import Reader, Status, Writer

MAGIC: Final = 0xCA
VERSION: Final = 2
HEADER_BYTES: Final = 8

CONTROL: Final = 0x01
SEGMENT_MASK: Final = 0x30
SEGMENT_FIRST: Final = 0x10
SEGMENT_LAST: Final = 0x20
SEGMENT_MIDDLE: Final = 0x30
FROM_SERVER: Final = 0x40
BIG_ENDIAN: Final = 0x80

SET_BYTE_ORDER: Final = 2  # a control message

MONITOR_INIT: Final = 0x08
MONITOR_START: Final = 0x44
MONITOR_FINISH: Final = 0x10

RECEIVE_BUFFER: Final = 1 << 20
"""What we tell the server of our buffer: old ones size their segments by it."""


class Command(IntEnum):
    """Application messages that we send or understand."""

    BEACON = 0
    VALIDATION = 1
    ECHO = 2
    SEARCH = 3
    SEARCH_RESPONSE = 4
    AUTHNZ = 5
    ACL_CHANGE = 6
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
        """Whether it is a control message: a header and nothing else."""
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
    """Return the header in ``data``, HEADER_BYTES long. Raises WireError when it is none."""
    magic, _version, flags, command = data[0], data[1], data[2], data[3]
    if magic != MAGIC:
        raise WireError(f"pvAccess: found {magic:#04x} where a message starts, expected {MAGIC:#04x}")
    size = int.from_bytes(data[4:8], "big" if flags & BIG_ENDIAN else "little")
    return Header(flags, command, size)


def message(command: int, body: bytes, *, big: bool, flags: int = 0) -> bytes:
    """Return a whole message of ours."""
    flags |= BIG_ENDIAN if big else 0
    return struct.pack(">BBBBI" if big else "<BBBBI", MAGIC, VERSION, flags, command, len(body)) + body


def validation(methods: list[str], user: str, host: str, *, big: bool) -> bytes:
    """Answer the server's greeting: as ``user`` at ``host`` if it knows the method "ca", else anonymously."""
    body = Writer(big=big).pack("IHH", RECEIVE_BUFFER, 0x7FFF, 0)
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


def create_channel(client_id: int, name: str, *, big: bool) -> bytes:
    """Ask for a channel."""
    return message(Command.CREATE_CHANNEL, Writer(big=big).pack("HI", 1, client_id).string(name).done(), big=big)


def read_create_channel(reader: Reader) -> tuple[int, int, Status]:
    """Return our id, the server's id and the outcome."""
    return reader.number("I"), reader.number("I"), reader.status()


def monitor_init(server_id: int, request_id: int, queue: int, *, big: bool) -> bytes:
    """Ask for a subscription to all fields, with ``record[queueSize=...]``."""
    body = Writer(big=big).pack("IIB", server_id, request_id, MONITOR_INIT)
    body.raw(b"\x80").string("").size(2)
    body.string("record").raw(b"\x80").string("").size(1)
    body.string("_options").raw(b"\x80").string("").size(1).string("queueSize").raw(b"\x60")
    body.string("field").raw(b"\x80").string("").size(0)
    return message(Command.MONITOR, body.string(str(queue)).done(), big=big)


def monitor_start(server_id: int, request_id: int, *, big: bool) -> bytes:
    """Start the subscription."""
    return message(Command.MONITOR, Writer(big=big).pack("IIB", server_id, request_id, MONITOR_START).done(), big=big)


def destroy_request(server_id: int, request_id: int, *, big: bool) -> bytes:
    """End the subscription."""
    return message(Command.DESTROY_REQUEST, Writer(big=big).pack("II", server_id, request_id).done(), big=big)


def destroy_channel(server_id: int, client_id: int, *, big: bool) -> bytes:
    """Give the channel up."""
    return message(Command.DESTROY_CHANNEL, Writer(big=big).pack("II", server_id, client_id).done(), big=big)


def echo(*, big: bool) -> bytes:
    """Ask whether the server is there."""
    return message(Command.ECHO, b"pebble", big=big)
