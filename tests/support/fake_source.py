"""A source of images whose thread is the test's own."""

from collections.abc import Callable
from typing import Any

import numpy as np

from detectors.errors import PebbleDaqError
from detectors.sources.image_sink import Description, ImageSink
from detectors.wire.ntndarray import ArrayHead


class FakeSource:
    name = "fake"

    def __init__(self, dtype: str = "uint16", shape: tuple[int, ...] = (4, 8)) -> None:
        self.sink: ImageSink | None = None
        self.closed = False
        self.dtype, self.shape = dtype, shape

    def start(self, sink: ImageSink) -> None:
        self.sink = sink

    def close(self) -> None:
        self.closed = True

    def connect(self, dtype: str | None = None, shape: tuple[int, ...] | None = None) -> str:
        """Announce arrays; return what the sink had against them."""
        self.dtype, self.shape = dtype or self.dtype, shape or self.shape
        nbytes = int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize
        assert self.sink is not None
        try:
            self.sink.connected(Description(nbytes, self.shape, self.dtype, ""))
        except PebbleDaqError as error:
            return str(error)
        return ""

    def disconnect(self, reason: str = "PV: gone") -> None:
        assert self.sink is not None
        self.sink.disconnected(reason)

    def pixels(self, n: int) -> np.ndarray:
        """The image of number ``n``."""
        return (np.arange(np.prod(self.shape)) + n).astype(self.dtype).reshape(self.shape)

    def send(self, n: int, timestamp_ns: int | None = None, **fields: Any) -> bool:
        """Deliver image ``n``; False when there was no slot for it."""
        image = self.pixels(n)
        return self._fill(self._head(n, timestamp_ns, **fields), image.tobytes)

    def send_again(self, n: int) -> bool:
        """Deliver update ``n``, which has the pixels of the last slot; False when there was no slot for it."""

        def last() -> memoryview:
            assert self.sink is not None
            pixels = self.sink.last()
            assert pixels is not None
            return pixels

        return self._fill(self._head(n, None), last)

    def _head(self, n: int, timestamp_ns: int | None, **fields: Any) -> ArrayHead:
        stamp = n * 1000 if timestamp_ns is None else timestamp_ns
        dtype = np.dtype(self.dtype)
        return ArrayHead(
            self.shape,
            dtype,
            int(np.prod(self.shape)) * dtype.itemsize,
            unique_id=fields.get("unique_id", n),
            timestamp_ns=stamp,
            attributes=fields.get("attributes", {}),
        )

    def _fill(self, head: ArrayHead, pixels: Callable[[], bytes | memoryview]) -> bool:
        assert self.sink is not None
        slot = self.sink.slot(head.nbytes)
        if slot is None:
            self.sink.dropped(head)
            return False
        slot[:] = pixels()
        self.sink.update(head)
        return True
