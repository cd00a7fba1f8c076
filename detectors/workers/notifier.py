"""Tells other processes which pulse has just been finished: eight bytes, only when somebody listens."""

import struct
from contextlib import suppress
from pathlib import Path
from typing import Final

import zmq

from detectors.errors import HostError
from detectors.workers.control import check_address

_PULSE: Final = struct.Struct("<Q")
_QUEUE: Final = 10_000
"""Notifications kept for a slow listener; it notices the gap by the pulses missing."""


class Notifier:
    """A PUB of pulse ids. ``send`` is for one thread. Raises HostError when the address cannot be bound."""

    def __init__(self, address: str) -> None:
        check_address(address)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.linger = 0
        self._socket.sndhwm = _QUEUE
        self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        self._listeners = 0
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise HostError(f"{address}: cannot notify there: {error.strerror}; remove what is in its place") from None
        endpoint = self._socket.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(endpoint, bytes)
        self.address = endpoint.rstrip(b"\0").decode()

    def look(self) -> None:
        """Learn who listens; call it now and then."""
        while self._socket.poll(0):
            subscribed = self._socket.recv(zmq.DONTWAIT)[:1] == b"\x01"
            self._listeners = max(0, self._listeners + (1 if subscribed else -1))

    def send(self, pulse_id: int) -> None:
        """Tell of a finished pulse, if anybody listens."""
        if self._listeners:
            self._socket.send(_PULSE.pack(pulse_id), zmq.DONTWAIT)

    def close(self) -> None:
        """Close, and remove the socket's file."""
        self._socket.close()
        self._context.term()
        with suppress(FileNotFoundError):
            Path(self.address.removeprefix("ipc://")).unlink()
