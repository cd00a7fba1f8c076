"""A source of images whose thread is the test's own."""

from typing import Any

import numpy as np

from detectors.errors import PebbleDaqError
from detectors.sources.image_sink import Description, ImageSink
from detectors.wire.ntndarray import ImageHead


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
        assert self.sink is not None
        image = self.pixels(n)
        stamp = n * 1000 if timestamp_ns is None else timestamp_ns
        update = ImageHead(
            self.shape,
            image.dtype,
            image.nbytes,
            unique_id=fields.get("unique_id", n),
            timestamp_ns=stamp,
            attributes=fields.get("attributes", {}),
        )
        slot = self.sink.slot(image.nbytes)
        if slot is None:
            self.sink.dropped(update)
            return False
        slot[:] = image.tobytes()
        self.sink.update(update)
        return True
