"""A pvAccess client's side of a connection that monitors one channel: bytes in, events out, no sockets.

The caller's loop: send ``outgoing()``; take ``next_event()`` until it is None; then receive into ``stream.want()`` and
call ``stream.received()``. It answers ArrayBegins with ``stream.supply()`` and Introspected with ``start_monitor()``.
Malformed input raises PvaError, and the connection cannot be used any more.

The first field of the channel's structure, if it is an array of numbers or a union of such, is streamed: its bytes are
received into the caller's memory. All other fields are given as plain Python, complete: a field that an update does not
mark keeps its last value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from detectors.pva.encoding import Packer, PvaError, Reader
from detectors.pva.introspection import NUMBERS, STRUCTURE, UNION, FieldDesc, TypeCache
from detectors.pva.message_stream import ArrayBegins, Message, MessageStream
from detectors.pva.messages import (
    MONITOR_FINISH,
    MONITOR_INIT,
    MONITOR_START,
    SET_BYTE_ORDER,
    Command,
    Found,
    Header,
    message,
    monitor_init,
    read_search_response,
    read_validation,
    search_request,
    validation,
)
from detectors.pva.values import Repeats, array_length, default_value, read_changed, selected

CHANNEL_ID: Final = 1
REQUEST_ID: Final = 1
SEARCH_ID: Final = 1

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


@dataclass(frozen=True, slots=True)
class Denied:
    """The server refused the channel or the subscription, or ended it."""

    reason: str


@dataclass(frozen=True, slots=True)
class ServerSays:
    """A log message of the server."""

    text: str


Event = Introspected | ArrayBegins | Updated | Denied | ServerSays | Found


class Connection:
    """What all connections share: byte order, validation, echo."""

    def __init__(self, user: str, host: str) -> None:
        self._user, self._host = user, host
        self.stream = MessageStream(self._find_array)
        """Where received bytes go in."""
        self._out: list[bytes] = []
        self.big = False
        """Byte order that the server asks for."""
        self.validated = False

    def outgoing(self) -> bytes:
        """Return the bytes to send now, once."""
        out, self._out = b"".join(self._out), []
        return out

    def send_echo(self) -> None:
        """Ask the server for a sign of life."""
        if self.validated:
            self._say(Command.ECHO, self._body().raw(b"pebble"))

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
        if command == Command.VALIDATION:
            self._out.append(validation(read_validation(reader), self._user, self._host, big=self.big))
            return None
        if command == Command.VALIDATED:
            if error := reader.error():
                return Denied(f"the server did not let {self._user or 'an anonymous user'} in: {error}")
            self.validated = True
            return self._on_validated()
        if command == Command.MESSAGE:
            reader.take(5)  # request and severity
            return ServerSays(reader.string())
        return self._on_message(item, reader)

    def _body(self) -> Packer:
        return Packer(big=self.big)

    def _say(self, command: Command, body: Packer) -> None:
        self._out.append(message(command, body.done(), big=self.big))

    def _on_validated(self) -> Event | None:
        raise NotImplementedError

    def _on_message(self, item: Message, reader: Reader) -> Event | None:
        raise NotImplementedError

    def _find_array(self, header: Header, body: memoryview) -> ArrayBegins | None:  # noqa: ARG002 - overridden
        return None


class SearchConnection(Connection):
    """A connection to a TCP name server, to search for one PV."""

    def __init__(self, name: str, user: str, host: str) -> None:
        super().__init__(user, host)
        self._name = name
        self._sequence = 0

    def ask(self) -> None:
        """Repeat the search; the first one is sent by itself."""
        if self.validated:
            self._sequence += 1
            request = search_request(self._sequence, SEARCH_ID, self._name, 0, unicast=True, big=self.big)
            self._out.append(request)

    def _on_validated(self) -> None:
        self.ask()

    def _on_message(self, item: Message, reader: Reader) -> Found | None:
        return read_search_response(reader, SEARCH_ID) if item.header.command == Command.SEARCH_RESPONSE else None


class MonitorConnection(Connection):
    """A connection that monitors one channel."""

    def __init__(self, name: str, user: str, host: str, queue: int = 8) -> None:
        super().__init__(user, host)
        self._name = name
        self._queue = queue
        self._server_id = 0
        self._cache = TypeCache()
        self._repeats = Repeats()
        self._desc: FieldDesc | None = None
        self._streamed: FieldDesc | None = None
        self._fields: dict[str, Any] = {}

    def start_monitor(self) -> None:
        """Start the updates."""
        self._say(Command.MONITOR, self._body().pack("IIB", self._server_id, REQUEST_ID, MONITOR_START))

    def send_goodbye(self) -> None:
        """End the subscription and the channel, if they exist."""
        if self._desc is not None:
            self._say(Command.DESTROY_REQUEST, self._body().pack("II", self._server_id, REQUEST_ID))
        if self._server_id:
            self._say(Command.DESTROY_CHANNEL, self._body().pack("II", self._server_id, CHANNEL_ID))

    def _on_validated(self) -> None:
        self._say(Command.CREATE_CHANNEL, self._body().pack("HI", 1, CHANNEL_ID).string(self._name))

    def _on_message(self, item: Message, reader: Reader) -> Event | None:
        command = item.header.command
        if command == Command.CREATE_CHANNEL:
            return self._on_channel(reader)
        if command == Command.MONITOR:
            return self._on_monitor(item, reader)
        if command == Command.DESTROY_CHANNEL:
            return Denied("the server closed the channel")
        if command == Command.DESTROY_REQUEST:
            return Denied("the server ended the subscription")
        return None  # echoes, access rights and others

    def _on_channel(self, reader: Reader) -> Denied | None:
        client_id, server_id, error = reader.number("I"), reader.number("I"), reader.error()
        if client_id != CHANNEL_ID or self._server_id:
            raise PvaError(f"pvAccess: found an answer about channel {client_id}, expected one about {CHANNEL_ID}")
        if error:
            return Denied(f"the server did not create the channel: {error}")
        self._server_id = server_id
        self._out.append(monitor_init(server_id, REQUEST_ID, self._queue, big=self.big))
        return None

    def _on_monitor(self, item: Message, reader: Reader) -> Event:
        request_id, subcommand = reader.number("I"), reader.u8()
        if request_id != REQUEST_ID:
            raise PvaError(f"pvAccess: found an update of request {request_id}, expected {REQUEST_ID}")
        if subcommand & MONITOR_INIT:
            return self._on_init(reader)
        if subcommand & MONITOR_FINISH:
            return Denied(f"the server ended the subscription {reader.error()}".rstrip())
        return self._on_update(item, reader)

    def _on_init(self, reader: Reader) -> Event:
        if error := reader.error():
            return Denied(f"the server refused the subscription: {error}")
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
        if self._streamed is not None and changed & 0b11:
            _array_at(reader, self._streamed)  # its head; the array itself was cut out behind it
        skip = 0 if self._streamed is None else 1
        self._fields = read_changed(reader, desc, changed, self._fields, self._cache, skip=skip, repeats=self._repeats)
        return Updated(self._fields, item.array)  # the bit set of overrun fields that follows is not needed

    def _find_array(self, header: Header, body: memoryview) -> ArrayBegins | None:
        if header.command != Command.MONITOR or self._streamed is None:
            return None
        reader = Reader(body, big=header.big)
        reader.take(4)
        if reader.u8() & (MONITOR_INIT | MONITOR_FINISH) or not reader.bit_set() & 0b11:
            return None
        found = _array_at(reader, self._streamed)
        if found is None:
            return None
        name, desc, count = found
        dtype = np.dtype(NUMBERS[desc.element]).newbyteorder(">" if header.big else "<")
        if count * dtype.itemsize > MAX_STREAMED_BYTES:
            raise PvaError(f"pvAccess: found an array of {count} {dtype}, expected at most {MAX_STREAMED_BYTES} bytes")
        return ArrayBegins(name, dtype, count, reader.pos)


def _array_at(reader: Reader, field: FieldDesc) -> tuple[str, FieldDesc, int] | None:
    """Return the union's member, the type and the length of the array at the reader; None when it is null or empty."""
    name = ""
    if field.code == UNION:
        member = selected(reader, field)
        if member is None:
            return None
        name, field = member
    count = array_length(reader, field)
    return (name, field, count) if count else None


def _streamable(field: FieldDesc) -> bool:
    """Whether the field is an array of numbers, or a union of nothing else."""
    if field.code == UNION:
        return bool(field.fields) and all(member.is_number_array for member in field.fields)
    return field.is_number_array
