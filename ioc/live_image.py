"""The live image for Channel Access, ``image1:ArrayData``, and what areaDetector's records say of it.

The worker of images sends it while it is wanted here: sending ends with the subscription, so no command is needed.
"""

import asyncio
import logging
from dataclasses import dataclass, replace

import zmq
import zmq.asyncio

from detectors.config import ImagesSection
from detectors.errors import WireError
from detectors.thinning import described
from detectors.wire.small_image import SmallImage, decode_small
from ioc.bindings import Handler

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LiveImageStatus:
    """What is known of the image in the record."""

    enabled: bool = False
    counter: int = 0
    """Images shown since the IOC started."""
    pulse_id: int = 0
    unique_id: int = 0
    time_ns: int = 0
    time_s: float = 0.0
    dimensions: int = 0
    size_0: int = 0
    size_1: int = 0
    size_2: int = 0
    size_x: int = 0
    size_y: int = 0
    size_z: int = 0
    dtype: str = "UInt16"
    color_mode: str = "Mono"


class LiveImage:
    """Receives the newest image while it is on. For the event loop."""

    def __init__(self, context: zmq.asyncio.Context, address: str, section: ImagesSection) -> None:
        """``address`` is where the worker publishes it."""
        self._context = context
        self._address = address
        self._elements = section.ca_pixels
        self._newest: SmallImage | None = None
        self._receiving: asyncio.Task[None] | None = None
        self.status = LiveImageStatus()
        self._switch(on=section.ca)

    def handlers(self) -> dict[str, Handler]:
        """Return the handler of the switch."""
        return {"live_image": Handler(self._enable, lambda: int(self.status.enabled))}

    def take(self) -> SmallImage | None:
        """Return the image that came since the last call, and describe it in ``status``; None when none did."""
        image, self._newest = self._newest, None
        if image:
            self.status = LiveImageStatus(
                enabled=True,
                counter=self.status.counter + 1,
                pulse_id=image.pulse_id,
                unique_id=image.unique_id,
                time_ns=image.time_ns,
                time_s=image.time_ns / 1e9,
                **described(image.pixels.shape, image.pixels.dtype),
            )
        return image

    def close(self) -> None:
        """End the subscription. Idempotent."""
        if self._receiving:
            self._receiving.cancel()
        self._receiving = None

    async def _enable(self, value: object) -> None:
        self._switch(on=bool(value))

    def _switch(self, *, on: bool) -> None:
        if on == self.status.enabled:
            return
        self.status = replace(self.status, enabled=on)
        self._newest = None
        self.close()
        if on:
            self._receiving = asyncio.create_task(self._receive(), name="live image")

    async def _receive(self) -> None:
        """Take images until cancelled. Each subscription has a socket of its own: asyncio misses what comes during a call on it."""
        with self._context.socket(zmq.SUB) as socket:
            socket.linger = 0
            socket.conflate = True
            socket.subscribe(b"")
            socket.connect(self._address)
            while True:
                message = await socket.recv()
                try:
                    image = decode_small(message)
                except WireError as error:
                    log.error("%s", error)  # noqa: TRY400
                    continue
                if image.pixels.size <= self._elements:
                    self._newest = image
