"""Replay as ZMQ streams. Nothing is dropped: a slow consumer slows the replay."""

import time
from typing import Final

import numpy as np
import zmq

from detectors.buffer.image import Image
from detectors.buffer.reader import BufferReader
from detectors.errors import ConfigError, HostError
from detectors.outputs.publisher import Publisher
from detectors.wire.array10 import ImageHeader, encode_header

WAIT_S: Final = 30.0
"""How long to wait for a consumer, at the start and when it takes nothing, s."""

_LINGER_MS: Final = 5000
_QUEUE: Final = 8
_LOOK_S: Final = 0.01


class _StreamTarget:
    """One stream for each address. Raises HostError when one cannot be bound."""

    def __init__(self, addresses: list[str], kind: int, wait_s: float) -> None:
        self._wait_s = wait_s
        self._context = zmq.Context()
        self._publishers: list[Publisher] = []
        try:
            for address in addresses:
                self._publishers.append(
                    Publisher(address, _QUEUE, kind=kind, linger_ms=_LINGER_MS, wait_s=wait_s, context=self._context)
                )
        except HostError:
            self.close()
            raise
        self.addresses = [publisher.address for publisher in self._publishers]

    def ready(self) -> None:
        """Wait until every stream has a consumer."""
        deadline = time.monotonic() + self._wait_s
        for publisher in self._publishers:
            publisher.look()
            while not publisher.consumers:
                if time.monotonic() > deadline:
                    raise HostError(
                        f"{publisher.address}: found no consumer within {self._wait_s:g} s; start it and try again"
                    )
                time.sleep(_LOOK_S)
                publisher.look()

    def close(self) -> None:
        """Send what is queued, for a few seconds at most."""
        for publisher in self._publishers:
            publisher.close()
        self._context.term()


class ModuleStreamTarget(_StreamTarget):
    """Publishes each module's frames as the receivers do, ModuleFrame and data, on an address of its own.

    Raises ConfigError when there are not as many addresses as modules, HostError when one cannot be bound.
    """

    def __init__(self, reader: BufferReader, addresses: list[str], wait_s: float = WAIT_S) -> None:
        if len(addresses) != len(reader.modules):
            raise ConfigError(
                f"zmq: found {len(addresses)} addresses, expected one for each of {', '.join(reader.modules)}"
            )
        self._layout = reader.info.layout
        super().__init__(addresses, zmq.XPUB, wait_s)

    def send(self, image: Image, period_s: float) -> int:  # noqa: ARG002
        """Send one message a frame."""
        frames = [(p, frame) for p, frame in zip(self._publishers, image.frames, strict=True) if frame]
        for publisher, frame in frames:
            _send(publisher, frame.head.module_frame, self._layout.store(frame.data))
        return len(frames)


class ImageStreamTarget(_StreamTarget):
    """Pushes assembled images as Array-1.0 to one consumer, as the full stream does.

    Raises HostError when the address cannot be bound.
    """

    def __init__(self, reader: BufferReader, address: str, wait_s: float = WAIT_S) -> None:
        self._reader = reader
        super().__init__([address], zmq.PUSH, wait_s)
        self.address = self.addresses[0]

    def send(self, image: Image, period_s: float) -> int:  # noqa: ARG002
        """Send one message."""
        header = ImageHeader(
            self._reader.image_head(image),
            detector_name=self._reader.data_set.name,
            dtype=self._reader.info.layout.pixel_type.name,
            shape=image.data.shape,
        )
        _send(self._publishers[0], encode_header(header), image.data)
        return 1


def _send(publisher: Publisher, head: bytes, data: np.ndarray) -> None:
    publisher.look()
    if not publisher.send(head, np.ascontiguousarray(data).data):
        raise HostError(f"{publisher.address}: the consumer takes nothing; start it, or make it faster")
