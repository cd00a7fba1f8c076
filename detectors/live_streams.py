"""Live data for scripts: iterators over the frames, images and results in streams, on any host."""

import threading
from abc import abstractmethod
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import zmq

from detectors.curve import CurveKeys
from detectors.errors import WireError
from detectors.frame import FrameHead
from detectors.live import Live, T
from detectors.pixels import FrameLayout
from detectors.sources.subscriptions import Sender, Subscriptions
from detectors.wire.array10 import ImageHeader, decode_image
from detectors.wire.module_message import parse_module_message
from detectors.wire.result_message import ResultHead, decode_result

_QUEUE: Final = 100
"""Messages that wait in a client."""


class _Stream(Live[T]):
    """What the messages of one sender hold. Raises HostError for an address that cannot be used, ConfigError for bad keys."""

    def __init__(
        self, sender: Sender, kind: int, keys: CurveKeys | None, timeout_s: float | None, stop: threading.Event | None
    ) -> None:
        super().__init__(timeout_s, stop)
        self._sockets = Subscriptions([sender], kind, keys)

    @abstractmethod
    def _decode(self, parts: Sequence[memoryview]) -> T:
        """Return what a message holds. Raises WireError when it is malformed: then it is missed."""

    def _take(self, timeout_s: float) -> T | None:
        parts = self._sockets.receive_one(timeout_s)
        if parts is None:
            return None
        try:
            return self._decode(parts)
        except WireError:
            self.missed += 1
            return None

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._sockets.close()


class ModuleStream(_Stream[tuple[FrameHead, np.ndarray]]):
    """Frames of one module from its ZMQ stream, on any host. ``shape`` and ``dtype`` are those of its frames.

    Of the head only the documented 40 bytes are known; the arrays are read-only. A client that is too slow sees gaps in
    pulse_id, which do not count as missed. ``keys`` are for a server that has some. Raises HostError for an
    address that cannot be used, ConfigError for keys that cannot be read.
    """

    def __init__(
        self,
        address: str,
        shape: tuple[int, ...],
        dtype: str,
        *,
        keys: CurveKeys | None = None,
        timeout_s: float | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._layout = FrameLayout(shape, dtype)
        super().__init__(Sender(address, _QUEUE, self._layout.data_bytes), zmq.SUB, keys, timeout_s, stop)

    def _decode(self, parts: Sequence[memoryview]) -> tuple[FrameHead, np.ndarray]:
        head, data = parse_module_message(parts, self._layout.data_bytes)
        return head, self._layout.read(data)


class ImageStream(_Stream[tuple[ImageHeader, np.ndarray | None]]):
    """Images from an Array-1.0 stream, on any host: header and pixels, None for a header without pixels.

    ``kind`` is ``full`` (every image goes to one of its clients) or ``reduced`` (every header goes to all of them). The
    arrays are read-only. An image above ``max_image_bytes`` is missed. ``keys`` are for a server that has some. Compressed images are
    decompressed. Raises HostError for an address that cannot be used, and while iterating when the images are compressed and the
    extra ``codecs`` is not installed; ConfigError for keys that cannot be read.
    """

    def __init__(
        self,
        address: str,
        kind: Literal["full", "reduced"] = "full",
        *,
        keys: CurveKeys | None = None,
        max_image_bytes: int = 1 << 30,
        timeout_s: float | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        socket = zmq.PULL if kind == "full" else zmq.SUB
        super().__init__(Sender(address, _QUEUE, max_image_bytes), socket, keys, timeout_s, stop)
        self._max_bytes = max_image_bytes

    def _decode(self, parts: Sequence[memoryview]) -> tuple[ImageHeader, np.ndarray | None]:
        return decode_image(parts, self._max_bytes)


class ResultStream(_Stream[tuple[ResultHead, np.ndarray]]):
    """Results of a user's function on live images, from the stream of ``pebbledaq process``, on any host.

    Each is one array, with its name and what it was made of. The arrays are read-only. A result above ``max_bytes`` is missed. ``keys``
    are for a server that has some. Raises HostError for an address that cannot be used, ConfigError for keys that cannot be read.
    """

    def __init__(
        self,
        address: str,
        *,
        keys: CurveKeys | None = None,
        max_bytes: int = 1 << 30,
        timeout_s: float | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        super().__init__(Sender(address, _QUEUE, max_bytes), zmq.SUB, keys, timeout_s, stop)

    def _decode(self, parts: Sequence[memoryview]) -> tuple[ResultHead, np.ndarray]:
        return decode_result(parts)
