"""Replay as ZMQ streams. Nothing is dropped: a slow consumer slows the replay."""

import time
from typing import Final

import numpy as np
import zmq

from detectors.buffer.reader import BufferReader, Image
from detectors.errors import ConfigError, HostError
from detectors.wire.array10 import ImageHeader, encode_header

WAIT_S: Final = 30.0
"""How long to wait for a consumer, at the start and when it takes nothing, s."""

_LINGER_MS: Final = 5000
_QUEUE: Final = 8


class ModuleStreamTarget:
    """Publishes each module's frames as the receivers do, ModuleFrame and data, on an address of its own.

    Raises ConfigError when there are not as many addresses as modules, HostError when one cannot be bound.
    """

    def __init__(self, reader: BufferReader, addresses: list[str], wait_s: float = WAIT_S) -> None:
        if len(addresses) != len(reader.modules):
            raise ConfigError(
                f"zmq: found {len(addresses)} addresses, expected one for each of {', '.join(reader.modules)}"
            )
        self._modules = reader.modules
        self._wait_s = wait_s
        self._context = zmq.Context()
        self._sockets: list[zmq.Socket[bytes]] = []
        try:
            for address in addresses:
                socket = _bind(self._context, zmq.XPUB, address, wait_s)
                # Blocks where PUB would drop.
                socket.setsockopt(zmq.XPUB_NODROP, 1)
                self._sockets.append(socket)
        except HostError:
            self._context.destroy(linger=0)
            raise
        self.addresses = [_endpoint(socket) for socket in self._sockets]

    def ready(self) -> None:
        """Wait until every module has a subscriber."""
        deadline = time.monotonic() + self._wait_s
        for socket, address in zip(self._sockets, self.addresses, strict=True):
            if not socket.poll(max(0, round((deadline - time.monotonic()) * 1000))):
                raise HostError(f"{address}: found no subscriber within {self._wait_s:g} s; start it and try again")
            socket.recv()

    def send(self, image: Image, period_s: float) -> int:  # noqa: ARG002
        """Send one message a frame."""
        sent = 0
        for socket, frame in zip(self._sockets, image.frames, strict=True):
            if frame is None:
                continue
            _send(socket, frame.head.module_frame, frame.data)
            sent += 1
        return sent

    def close(self) -> None:
        """Send what is queued, for a few seconds at most."""
        self._context.destroy()


class ImageStreamTarget:
    """Pushes assembled images as Array-1.0 to one consumer, as the full stream does.

    Raises HostError when the address cannot be bound.
    """

    def __init__(
        self,
        reader: BufferReader,
        address: str,
        *,
        pedestal_file: str = "",
        gain_file: str = "",
        wait_s: float = WAIT_S,
    ) -> None:
        self._reader = reader
        self._files = pedestal_file, gain_file
        self._context = zmq.Context()
        try:
            self._socket = _bind(self._context, zmq.PUSH, address, wait_s)
        except HostError:
            self._context.destroy(linger=0)
            raise
        self.address = _endpoint(self._socket)

    def ready(self) -> None:
        """Nothing to wait for: the first image waits for the consumer."""

    def send(self, image: Image, period_s: float) -> int:  # noqa: ARG002
        """Send one message."""
        header = ImageHeader(
            self._reader.image_head(image),
            detector_name=self._reader.folder.name,
            dtype=self._reader.info.dtype,
            shape=image.data.shape,
            pedestal_file=self._files[0],
            gain_file=self._files[1],
        )
        _send(self._socket, encode_header(header), image.data)
        return 1

    def close(self) -> None:
        """Send what is queued, for a few seconds at most."""
        self._context.destroy()


def _bind(context: "zmq.Context[zmq.Socket[bytes]]", kind: int, address: str, wait_s: float) -> "zmq.Socket[bytes]":
    socket = context.socket(kind)
    socket.sndhwm = _QUEUE
    socket.linger = _LINGER_MS
    socket.sndtimeo = int(wait_s * 1000)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        raise HostError(f"{address}: cannot publish there: {error.strerror}; free it or choose another") from None
    return socket


def _endpoint(socket: "zmq.Socket[bytes]") -> str:
    """Return the address that a socket is bound to, with the port that the system chose."""
    found = socket.getsockopt(zmq.LAST_ENDPOINT)
    return found.decode().rstrip("\0") if isinstance(found, bytes) else str(found)


def _send(socket: "zmq.Socket[bytes]", head: bytes, data: np.ndarray) -> None:
    try:
        socket.send(head, zmq.SNDMORE)
        socket.send(np.ascontiguousarray(data).data)
    except zmq.Again:
        raise HostError(f"{_endpoint(socket)}: the consumer takes nothing; start it, or make it faster") from None
