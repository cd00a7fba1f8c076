"""A pvAccess client's side of a connection that monitors one channel: bytes in, events out, no sockets.

The caller's loop: send ``outgoing()``; take ``next_event()`` until it is None; then receive into ``stream.want()`` and
call ``stream.received()``. It answers ArrayBegins with ``stream.supply()`` and Introspected with ``start_monitor()``.
Malformed input raises PvaError, and the connection cannot be used any more.

The first field of the channel's structure, if it is an array of numbers or a union of such, is streamed: its bytes are
received into the caller's memory. All other fields are given as plain Python, complete: a field that an update does not
mark keeps its last value.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from detectors.pva.encoding import PvaError, Reader, encode_string
from detectors.pva.message_stream import ArrayBegins, Message, MessageStream
from detectors.pva.messages import (
    MONITOR_FINISH,
    MONITOR_INIT,
    MONITOR_START,
    OUR_ID,
    SET_BYTE_ORDER,
    Found,
    Header,
    MessageCode,
    message,
    monitor_init,
    read_search_response,
    search_request,
    validation,
)
from detectors.pva.pvdata import (
    NUMBERS,
    STRUCTURE,
    UNION,
    FieldDesc,
    TypeCache,
    array_length,
    default_value,
    selected,
)
from detectors.pva.repeats import Repeats

log = logging.getLogger(__name__)

MAX_STREAMED_BYTES: Final = 4 << 30
"""Largest array that is received."""


@dataclass(frozen=True, slots=True)
class Introspected:
    """The channel's type is known; ``start_monitor()`` starts the updates."""

    desc: FieldDesc
    streamed: bool
    """Whether the first field is streamed."""


@dataclass(frozen=True, slots=True)
class Updated:
    """An update is complete, its array included."""

    fields: Mapping[str, Any]
    """All fields but a streamed one."""
    array: ArrayBegins | None
    """Of the streamed field; None when the update has none, or an empty one."""
    marked: bool
    """Whether the streamed field is in the update: if not, it is as it was before."""


Event: TypeAlias = Introspected | ArrayBegins | Updated | Found


class Connection:
    """What all connections share: byte order, validation, echo."""

    def __init__(self, name: str, user: str, host: str) -> None:
        self._name, self._user, self._host = name, user, host
        self.stream = MessageStream(self._find_array)
        """Receives bytes, gives messages."""
        self._out: list[bytes] = []
        self.big = False
        """Byte order that the server asks for."""
        self.validated = False

    def outgoing(self) -> bytes:
        """Return the bytes to send now, once."""
        out, self._out = b"".join(self._out), []
        return out

    def send_echo(self) -> None:
        """Send an echo, which the server answers."""
        if self.validated:
            self._send(MessageCode.ECHO, "6s", b"pebble")

    def next_event(self) -> Event | None:
        """Return the next event; None when more bytes are needed. Raises PvaError."""
        while True:
            item = self.stream.next()
            if item is None or isinstance(item, ArrayBegins):
                return item
            header = item.header
            if not header.control:
                event = self._dispatch(item)
                if event is not None:
                    return event
            elif header.command == SET_BYTE_ORDER:
                self.big = header.big

    def _dispatch(self, item: Message) -> Event | None:
        reader = Reader(item.body, big=item.header.big)
        command = item.header.command
        if command == MessageCode.VALIDATION:
            reader.take(6)  # sizes of the server's buffer and registry
            methods = [reader.string() for _ in range(reader.count())]
            self._out.append(validation(methods, self._user, self._host, big=self.big))
        elif command == MessageCode.VALIDATED:
            if error := reader.error():
                raise PvaError(f"the server did not let {self._user or 'an anonymous user'} in: {error}")
            self.validated = True
            self._on_validated()
        elif command == MessageCode.MESSAGE:
            reader.take(5)  # request and severity
            log.info("%s: the server says: %s", self._name, reader.string())
        else:
            return self._on_message(item, reader)
        return None

    def _send(self, command: MessageCode, codes: str, *values: int | bytes, tail: bytes = b"") -> None:
        self._out.append(message(command, codes, *values, tail=tail, big=self.big))

    def _on_validated(self) -> None:
        raise NotImplementedError

    def _on_message(self, item: Message, reader: Reader) -> Event | None:
        raise NotImplementedError

    def _find_array(self, header: Header, body: memoryview) -> ArrayBegins | None:  # noqa: ARG002 - overridden
        return None


class SearchConnection(Connection):
    """A connection to a TCP name server, to search for one PV."""

    _sequence = 0

    def ask(self) -> None:
        """Repeat the search; the first one is sent by itself."""
        if self.validated:
            self._sequence += 1
            self._out.append(search_request(self._sequence, self._name, 0, unicast=True, big=self.big))

    def _on_validated(self) -> None:
        self.ask()

    def _on_message(self, item: Message, reader: Reader) -> Found | None:
        return read_search_response(reader) if item.header.command == MessageCode.SEARCH_RESPONSE else None


class MonitorConnection(Connection):
    """A connection that monitors one channel."""

    def __init__(self, name: str, user: str, host: str) -> None:
        super().__init__(name, user, host)
        self._server_id = 0
        self._cache = TypeCache()
        self._repeats = Repeats()
        self._desc: FieldDesc | None = None
        self._streamed: FieldDesc | None = None
        self._fields: dict[str, Any] = {}

    def start_monitor(self) -> None:
        """Start the updates."""
        self._send(MessageCode.MONITOR, "IIB", self._server_id, OUR_ID, MONITOR_START)

    def send_goodbye(self) -> None:
        """End the subscription and the channel, if they exist."""
        if self._desc is not None:
            self._send(MessageCode.DESTROY_REQUEST, "II", self._server_id, OUR_ID)
        if self._server_id:
            self._send(MessageCode.DESTROY_CHANNEL, "II", self._server_id, OUR_ID)

    def _on_validated(self) -> None:
        self._send(MessageCode.CREATE_CHANNEL, "HI", 1, OUR_ID, tail=encode_string(self._name, big=self.big))

    def _on_message(self, item: Message, reader: Reader) -> Event | None:
        command = item.header.command
        if command == MessageCode.MONITOR:
            return self._on_monitor(item, reader)
        if command == MessageCode.CREATE_CHANNEL:
            self._on_channel(reader)
        elif command == MessageCode.DESTROY_CHANNEL:
            raise PvaError("the server closed the channel")
        elif command == MessageCode.DESTROY_REQUEST:
            raise PvaError("the server ended the subscription")
        return None  # echoes, access rights and others

    def _on_channel(self, reader: Reader) -> None:
        client_id, server_id, error = reader.number("I"), reader.number("I"), reader.error()
        if client_id != OUR_ID or self._server_id:
            raise PvaError(f"pvAccess: found an answer about channel {client_id}, expected one about {OUR_ID}")
        if error:
            raise PvaError(f"the server did not create the channel: {error}")
        self._server_id = server_id
        self._out.append(monitor_init(server_id, big=self.big))

    def _on_monitor(self, item: Message, reader: Reader) -> Event:
        request_id, subcommand = reader.number("I"), reader.u8()
        if request_id != OUR_ID:
            raise PvaError(f"pvAccess: found an update of request {request_id}, expected {OUR_ID}")
        if subcommand & MONITOR_INIT:
            return self._on_init(reader)
        if subcommand & MONITOR_FINISH:
            raise PvaError(f"the server ended the subscription {reader.error()}".rstrip())
        return self._on_update(item, reader)

    def _on_init(self, reader: Reader) -> Event:
        if error := reader.error():
            raise PvaError(f"the server refused the subscription: {error}")
        desc = self._cache.read(reader)
        if desc is None or self._desc is not None:
            raise PvaError("pvAccess: found no type where a subscription's is expected, or a second one")
        if desc.code != STRUCTURE:
            raise PvaError(f"pvAccess: found a channel of type {desc.code:#04x}, expected a structure")
        self._desc = desc
        self._streamed = desc.fields[0] if desc.fields and _streamable(desc.fields[0]) else None
        self._fields = default_value(desc)
        return Introspected(desc, self._streamed is not None)

    def _on_update(self, item: Message, reader: Reader) -> Updated:
        desc = self._desc
        if desc is None:
            raise PvaError("pvAccess: found an update before its type")
        changed = reader.bit_set()
        marked = self._streamed is not None and changed & 0b11 != 0
        if item.array is not None:
            reader.pos = item.array.offset  # where the array was cut out
        elif self._streamed is not None and marked:
            _array_at(reader, self._streamed)  # null or empty
        skip = int(self._streamed is not None)
        self._fields = self._repeats.read(reader, desc, changed, self._fields, self._cache, skip=skip)
        return Updated(self._fields, item.array, marked)  # the bit set of overrun fields that follows is not needed

    def _find_array(self, header: Header, body: memoryview) -> ArrayBegins | None:
        if header.command != MessageCode.MONITOR or self._streamed is None:
            return None
        reader = Reader(body, big=header.big)
        reader.take(4)
        if reader.u8() & (MONITOR_INIT | MONITOR_FINISH) or not reader.bit_set() & 0b11:
            return None
        return _array_at(reader, self._streamed)


def _array_at(reader: Reader, field: FieldDesc) -> ArrayBegins | None:
    """Return the array at the reader, in a union or not; None when it is null or empty."""
    name = ""
    if field.code == UNION:
        member = selected(reader, field)
        if member is None:
            return None
        name, field = member
    count = array_length(reader, field)
    if not count:
        return None
    dtype = np.dtype(NUMBERS[field.element]).newbyteorder(">" if reader.big else "<")
    if count * dtype.itemsize > MAX_STREAMED_BYTES:
        raise PvaError(f"pvAccess: found an array of {count} {dtype}, expected at most {MAX_STREAMED_BYTES} bytes")
    return ArrayBegins(name, dtype, count, reader.pos)


def _streamable(field: FieldDesc) -> bool:
    """Whether the field is an array of numbers, or a union of nothing else."""
    if field.code == UNION:
        return bool(field.fields) and all(member.is_number_array for member in field.fields)
    return field.is_number_array
