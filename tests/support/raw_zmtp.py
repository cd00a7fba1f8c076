"""A peer of a ZMQ socket that keeps to no rule: bytes of ZMTP 3.0, sent by hand. Source: rfc.zeromq.org/spec/23."""

import socket
import struct
import threading
from contextlib import suppress

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)


def ready(kind: bytes) -> bytes:
    """Return the command that ends the handshake."""
    body = b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind
    return b"\x04" + bytes([len(body)]) + body


class RawPeer:
    """A connection to ``tcp://host:port``; ``kind`` is the socket type that it states, b"" to send no greeting."""

    def __init__(self, address: str, kind: bytes = b"SUB") -> None:
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=5)
        if kind:
            self.socket.sendall(GREETING)
            self.socket.sendall(ready(kind))
            # What comes before the other side has sent its READY fails the handshake.
            found = b""
            while b"READY" not in found:
                found += self.socket.recv(1 << 10)
        self.socket.settimeout(None)
        self._thread: threading.Thread | None = None

    def send(self, data: bytes) -> None:
        """Send once."""
        self.socket.sendall(data)

    def flood(self, data: bytes) -> None:
        """Send over and over, on a thread, until disconnected."""

        def run() -> None:
            with suppress(OSError):
                while True:
                    self.socket.sendall(data)

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def is_cut(self) -> bool:
        """Whether the other side has disconnected. Reads once: answers may come without end, and ``flood`` must not stop."""
        try:
            return not self.socket.recv(1 << 20, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Disconnect."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        if self._thread:
            self._thread.join()
        self.socket.close()
