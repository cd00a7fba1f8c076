"""A pvAccess server of one PV that does what real ones do seldom: big-endian, in segments, stuck, gone, or lying.

It runs on threads of the caller's process, and finds its ports in EPICS_PVA_* as everybody else does. For tests and benchmarks.
"""

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any, Self

from sim.pva_encode import NTNDARRAY, Encoder

VALIDATION, ECHO, SEARCH, SEARCH_RESPONSE, CREATE, DESTROY = 1, 2, 3, 4, 7, 8
VALIDATED, MONITOR, DESTROY_REQUEST = 9, 13, 15


class SimulatedPvaServer:
    """Serves ``pv`` of type ``kind``; ``segment`` bytes a segment (0: whole messages)."""

    def __init__(
        self,
        pv: str,
        kind: Any = NTNDARRAY,
        *,
        big: bool = False,
        segment: int = 0,
        udp: bool = True,
        port: int | None = None,
    ) -> None:
        self.pv, self.kind, self.segment = pv, kind, segment
        self.encoder = Encoder(big=big)
        self.flags = 0x40 | (0x80 if big else 0)
        self.mute_echo = False
        self.refuse = ""
        self.users: list[tuple[str, str]] = []
        """Method and user of every client that came."""
        self.echoes = 0
        self.goodbyes = 0
        self.subscriptions = 0
        self._listener = socket.create_server(("127.0.0.1", port or int(os.environ["EPICS_PVA_SERVER_PORT"])))
        self.port = self._listener.getsockname()[1]
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        if udp:
            self._udp.bind(("127.0.0.1", int(os.environ["EPICS_PVA_BROADCAST_PORT"])))
        else:
            self._udp.bind(("127.0.0.1", 0))
        self._clients: list[_Client] = []
        self._change = threading.Condition()
        self._threads = [
            threading.Thread(target=self._answer_searches, daemon=True),
            threading.Thread(target=self._accept, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Close all connections and end the threads."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", self._udp.getsockname())
        for thread in self._threads:
            thread.join(5)
        self._udp.close()
        self.drop_clients()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait_subscribed(self, count: int = 1, timeout_s: float = 30.0) -> None:
        """Wait until monitors have been started ``count`` times, from the beginning."""
        self.wait_for(lambda: self.subscriptions >= count, timeout_s)

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Wait until ``condition`` holds; it is asked again whenever a client has said something."""
        with self._change:
            assert self._change.wait_for(condition, timeout_s)

    def clients(self) -> "list[_Client]":
        """Return the connections whose monitors have started."""
        with self._change:
            return [c for c in self._clients if c.started]

    def header(self, command: int, size: int, flags: int = 0) -> bytes:
        """Return the header of a whole message; ``flags`` make it a segment's, or that of a control message."""
        return struct.pack(self.encoder.order + "BBBBI", 0xCA, 2, self.flags | flags, command, size)

    def drop_clients(self) -> None:
        """Close the connections of all clients."""
        with self._change:
            clients, self._clients = self._clients, []
        for client in clients:
            client.close()

    def body(self, value: dict[str, Any], fields: list[str] | None = None) -> bytes:
        """Return an update's body behind the request id: ``fields`` only, or everything."""
        names = list(self.kind[2])
        changed, payload, bit = 0, b"", 1
        for name in names:
            kind = self.kind[2][name]
            if fields is None or name in fields:
                changed |= 1 << bit
                payload += self.encoder.value(kind, value[name])
            bit += _bits(kind)
        return b"\0" + self.encoder.bits(changed if fields is not None else 1) + payload + self.encoder.bits(0)

    def post(self, value: dict[str, Any], fields: list[str] | None = None, *, cut: int | None = None) -> None:
        """Send an update to every subscriber; with ``cut``, only the first so many bytes of it."""
        self.send(self.body(value, fields), cut=cut)

    def send(self, body: bytes, *, cut: int | None = None) -> None:
        """Send the body of an update, good or bad."""
        for client in self.clients():
            with contextlib.suppress(OSError):
                client.sock.sendall(self.framed(MONITOR, self.encoder.pack("I", client.request_id) + body)[:cut])

    def send_raw(self, data: bytes) -> None:
        """Send bytes to all clients as they are."""
        with self._change:
            clients = list(self._clients)
        for client in clients:
            with contextlib.suppress(OSError):
                client.sock.sendall(data)

    def framed(self, command: int, body: bytes) -> bytes:
        """Return a message, cut into segments with a control message between the first two."""
        if not self.segment or len(body) <= self.segment:
            return self.header(command, len(body)) + body
        parts = [body[i : i + self.segment] for i in range(0, len(body), self.segment)]
        out = b""
        for number, part in enumerate(parts):
            place = 0x10 if number == 0 else 0x20 if number == len(parts) - 1 else 0x30
            out += self.header(command, len(part), place) + part
            if number == 0:
                out += self.header(0, 1234, 1)
        return out

    def _answer_searches(self) -> None:
        while True:
            data, sender = self._udp.recvfrom(65536)
            if not data:
                return
            found = self.search_answer(data)
            if found is not None:
                answer, port = found
                self._udp.sendto(answer, (sender[0], port or sender[1]))

    def search_answer(self, data: bytes) -> tuple[bytes, int] | None:
        """Return the answer to a search and the port that it goes to; None when it is not for this PV."""
        if len(data) < 8 or data[3] != SEARCH:
            return None
        order = ">" if data[2] & 0x80 else "<"
        sequence, port = struct.unpack_from(order + "I", data, 8)[0], struct.unpack_from(order + "H", data, 32)[0]
        at = 35
        for _ in range(data[34]):
            at += 1 + data[at]
        count, at = struct.unpack_from(order + "H", data, at)[0], at + 2
        for _ in range(count):
            search_id, length = struct.unpack_from(order + "I", data, at)[0], data[at + 4]
            name, at = data[at + 5 : at + 5 + length].decode(), at + 5 + length
            if name == self.pv:
                body = b"\x11" * 12 + self.encoder.pack("I", sequence) + bytes(16) + self.encoder.pack("H", self.port)
                body += self.encoder.string("tcp") + b"\1" + self.encoder.pack("HI", 1, search_id)
                return self.header(SEARCH_RESPONSE, len(body)) + body, port
        return None

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            client = _Client(self, sock)
            with self._change:
                self._clients.append(client)
            client.start()

    def changed(self) -> None:
        """Let those that wait look again."""
        with self._change:
            self._change.notify_all()


class _Client(threading.Thread):
    """One client's connection."""

    def __init__(self, server: SimulatedPvaServer, sock: socket.socket) -> None:
        super().__init__(daemon=True)
        self.server, self.sock = server, sock
        self.started = False
        self.request_id = 0

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.join(5)
        self.sock.close()

    def run(self) -> None:
        server, e = self.server, self.server.encoder
        with contextlib.suppress(OSError, EOFError):
            self.sock.sendall(server.header(2, 0, 1))
            self._send(VALIDATION, e.pack("IH", 1 << 20, 0x7FFF) + e.size(2) + e.string("anonymous") + e.string("ca"))
            while True:
                header = self._exactly(8)
                order = ">" if header[2] & 0x80 else "<"
                if not header[2] & 1:
                    size = struct.unpack_from(order + "I", header, 4)[0]
                    self._on(header[3], order, self._exactly(size), header)
        self.started = False
        server.changed()

    def _on(self, command: int, order: str, body: bytes, header: bytes) -> None:
        server, e = self.server, self.server.encoder
        if command == VALIDATION:
            words = _strings(body[8:])
            server.users.append((words[0], words[-2] if words[0] == "ca" else ""))
            self._send(VALIDATED, b"\xff")
        elif command == ECHO:
            server.echoes += 1
            if not server.mute_echo:
                self._send(ECHO, body)
        elif command == SEARCH:
            found = server.search_answer(header + body)
            if found is not None:
                self.sock.sendall(found[0])
        elif command == CREATE:
            client_id = struct.unpack_from(order + "I", body, 2)[0]
            status = b"\2" + e.string(server.refuse) + e.string("") if server.refuse else b"\xff"
            self._send(CREATE, e.pack("II", client_id, 9) + status)
        elif command == MONITOR:
            self._on_monitor(order, body)
        elif command in (DESTROY, DESTROY_REQUEST):
            server.goodbyes += 1
        server.changed()

    def _on_monitor(self, order: str, body: bytes) -> None:
        server, e = self.server, self.server.encoder
        self.request_id, subcommand = struct.unpack_from(order + "IB", body, 4)
        if subcommand & 0x08:
            self._send(MONITOR, e.pack("IB", self.request_id, 0x08) + b"\xff" + e.type(server.kind))
        elif subcommand & 0x40:
            self.started = True
            server.subscriptions += 1

    def _send(self, command: int, body: bytes) -> None:
        self.sock.sendall(self.server.framed(command, body))

    def _exactly(self, nbytes: int) -> bytes:
        data = b""
        while len(data) < nbytes:
            part = self.sock.recv(nbytes - len(data))
            if not part:
                raise EOFError
            data += part
        return data


def _bits(kind: Any) -> int:
    return 1 + sum(map(_bits, kind[2].values())) if kind[0] == "struct" else 1


def _strings(data: bytes) -> list[str]:
    """Find the strings of a validation: a length byte and that much printable text."""
    found, at = list[str](), 0
    while at < len(data):
        length = data[at]
        text = data[at + 1 : at + 1 + length]
        if 0 < length < 0x60 and len(text) == length and text.isascii() and text.decode().isprintable():
            found.append(text.decode())
            at += 1 + length
        else:
            at += 1
    return found
