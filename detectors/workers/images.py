"""The worker that shows live images as PVs: gathered only while a client is connected.

It looks at the modules' memory when an image is due and takes the newest: no receiver sends it anything, or waits for it. Where
not all modules are on its host, it takes the images from the stream of whole ones.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from detectors.config import Config, ImagesSection
from detectors.errors import ConfigError
from detectors.outputs.publisher import Publisher
from detectors.outputs.pva_images import PvaImages
from detectors.sources.compressed_images import CompressedSource
from detectors.stats import ImagesStatus, ShownStats
from detectors.thinning import binning, color_mode, colours_last, described, eight_bits, thinned
from detectors.wire.compressed_image import COMPRESSION
from detectors.wire.encode import encode
from detectors.wire.ntndarray_fields import compressed_fields, image_fields, no_image_fields
from detectors.wire.small_image import SmallImage, encode_small
from detectors.worker_names import IMAGES, STREAM, image_worker_name
from detectors.workers.account import Account
from detectors.workers.image_counter import ImageCounter
from detectors.workers.newest_compressed import NewestCompressed
from detectors.workers.newest_image import NewestImage, next_due
from detectors.workers.rates import RateMeter
from detectors.workers.runtime import IDLE_S, run_worker
from detectors.workers.wake import Wake

IMAGE, PREVIEW = "Pva1:Image", "Pva1:Preview"
"""Names of the PVs behind the prefix of the detector."""

_EMPTY_S: Final = 0.3
"""A client that connects while there is no image gets an empty one after this long, s."""

_LOOK_S: Final = 0.01, 0.1
"""Shortest and longest time between two looks for an image that is due, s."""

_ACTIVE_S: Final = 2.0
"""Without a new image for this long, or two periods, the state is Waiting, s."""


def run(config: Config, detector: str = "") -> int:
    """Show the images of a detector until it is to stop. Returns the exit code.

    Raises ConfigError without an [images] section, HostError when a port or an address is refused.
    """
    return run_worker(ImagesPart(config, detector), config)


@dataclass(slots=True)
class _Place:
    """One of the PVs that show images."""

    period_s: float
    send: Callable[[bool], None]
    """Sends the present image to all clients, or to new ones only."""
    clients: int = 0
    due_s: float = 0.0
    shown: int = 0
    """Number of the image that was shown last."""
    images: int = 0
    rates: RateMeter = field(default_factory=RateMeter)

    def show(self, image: int, now: float) -> None:
        """Show an image, and set when the next one is due."""
        self.send(False)
        self.shown = image
        self.images += 1
        self.due_s = next_due(self.due_s, now, self.period_s)

    def stats(self, now: float) -> ShownStats:
        """Return a snapshot."""
        return ShownStats(self.clients, self.images, self.rates.add(now, self.images, 0, 0).frames_hz)


class ImagesPart:
    """The part of a worker that shows live images."""

    blocks: Mapping[str, Sequence[str]] = {}
    empty = ImagesStatus()

    def __init__(self, config: Config, detector: str) -> None:
        sources = config.sources_of(detector)
        self.name = image_worker_name(IMAGES, detector)
        self._prefix = f"{config.detector.prefix}{detector}:" if detector else config.detector.prefix
        if config.images is None:
            raise ConfigError("images: missing; give an [images] section")
        self._section: ImagesSection = config.images
        runtime = self._runtime = config.runtime_names
        self._interfaces = [str(address) for address in config.ioc.interfaces]
        port = config.images.port
        # Each detector's worker is a server of its own.
        self._port = port and port + list(config.detectors.values()).index(sources)
        self._newest = NewestImage(config, sources, config.images.host)
        self._counter = ImageCounter(config, sources, config.images.host)
        self._compressed: NewestCompressed | None = None
        if config.is_compressed(sources, config.images.host) and config.images.codec == COMPRESSION:
            self._compressed = NewestCompressed(CompressedSource(runtime.notify(STREAM), runtime.shm(STREAM)))
        self._shows_compressed = self._awaits_compressed = False
        self._compressed_here = 0
        self.commands = self._counter.commands
        self._described: dict[str, Any] = {}

    def open(self, stack: ExitStack, wake: Wake, account: Account) -> str:  # noqa: ARG002
        """Serve the PVs. Raises HostError when a port or an address is refused, or a codec's library is not installed."""
        section, prefix = self._section, self._prefix
        for codec in {section.codec, section.preview_codec} - {"none"}:
            encode(codec, np.zeros((8, 8), np.uint8))  # so that a missing library shows now, not with the first image
        self._pva = PvaImages([prefix + IMAGE, prefix + PREVIEW], self._interfaces, self._port, wake.ring)
        stack.callback(self._pva.close)
        self._ca_stream = Publisher(self._runtime.frames(self.name), 1, linger_ms=0)
        stack.callback(self._ca_stream.close)
        stack.callback(self._newest.close)
        if self._compressed:
            stack.callback(self._compressed.close)
        stack.callback(self._counter.close)
        self._full = _Place(1 / section.image_hz, self._send_full)
        self._preview = _Place(1 / section.preview_hz, self._send_preview)
        self._ca = _Place(1 / section.ca_hz, self._send_ca)
        self._places = self._full, self._preview, self._ca
        return f"pva:{self._pva.port}"

    def step(self) -> float:
        """Count and show images. Return how long to wait for the next."""
        return min(self._counter.step(), self._show(), self._newest.look())

    def _show(self) -> float:
        """Show the newest image where one is due."""
        now = time.monotonic()
        self._count_clients()
        wanted = [place for place in self._places if place.clients]
        newest = self._newest
        newest.gather(now, on=bool(wanted))
        if not wanted:
            self._shows_compressed = False
            if self._compressed:
                self._compressed.expect()
            return IDLE_S
        due = [place for place in wanted if place.due_s <= now]
        pixels_due = [place for place in due if place is not self._full or not self._show_compressed(now)]
        if pixels_due and newest.take(now):
            self._described = described(newest.pixels.shape, newest.pixels.dtype)
        self._awaits_compressed = False
        for place in pixels_due:
            if newest.number in {0, place.shown}:
                continue
            if place is not self._full or not self._is_compressed(now):
                place.show(newest.number, now)
        self._welcome(now)
        shortest, longest = _LOOK_S
        left_s = min(place.due_s for place in wanted) - now
        return left_s if left_s > 0 else min(longest, max(shortest, min(place.period_s for place in due) / 4))

    def _show_compressed(self, now: float) -> bool:
        """Show the whole image as the stream has compressed it; return whether it does, so that none need be compressed here."""
        compressed = self._compressed
        if compressed is None:
            return False
        if compressed.take(now):
            header, _ = compressed.image
            self._described = described(header.shape, np.dtype(header.dtype))
            self._shows_compressed = True
            self._full.show(self._newest.number, now)
        return compressed.is_live(now)

    def _is_compressed(self, now: float) -> bool:
        """Return whether the newest image was shown as the stream has compressed it, or may be compressed soon."""
        compressed = self._compressed
        if compressed is None:
            return False
        if self._shows_compressed and compressed.head.pulse_id == self._newest.head.pulse_id:
            return True
        self._awaits_compressed = compressed.is_awaited(now)
        self._shows_compressed &= self._awaits_compressed
        return self._awaits_compressed

    def snapshot(self) -> ImagesStatus:
        """Return what there is to know."""
        now, newest, last = time.monotonic(), self._newest, self._newest
        if self._compressed and self._compressed.taken_s > newest.taken_s:
            last = self._compressed
        head = last.head
        active_s = max(_ACTIVE_S, 2 * max((place.period_s for place in self._places if place.clients), default=0))
        state = "Idle" if not newest.gathering else "Showing" if now - last.taken_s < active_s else "Waiting"
        return ImagesStatus(
            state=state,
            message=newest.gatherer.state()[1] if state == "Waiting" else "",
            pulse_id=head.pulse_id,
            data_ns=head.timestamp_ns,
            data_s=head.timestamp_ns / 1e9,
            unique_id=head.unique_id,
            **self._described,
            images=newest.gatherer.image_stats(newest.gatherer.assembled),
            compressed_elsewhere=self._compressed.taken if self._compressed else 0,
            compressed_here=self._compressed_here,
            image=self._full.stats(now),
            preview=self._preview.stats(now),
            ca=self._ca.stats(now),
            port=self._pva.port,
            acquisition=self._counter.stats(),
        )

    def finish(self, deadline_s: float) -> None:
        """Leave the last image: it has been sent."""

    def _count_clients(self) -> None:
        prefix = self._prefix
        self._ca_stream.look()
        self._full.clients = self._pva.clients(prefix + IMAGE)
        self._preview.clients = self._pva.clients(prefix + PREVIEW)
        self._ca.clients = self._ca_stream.consumers

    def _welcome(self, now: float) -> None:
        """Give clients that have just connected the image that is there, or after a while an empty one."""
        for name, place in ((IMAGE, self._full), (PREVIEW, self._preview)):
            if self._pva.waiting(self._prefix + name):
                if place is self._full and self._awaits_compressed:
                    continue
                if self._newest.number or (self._shows_compressed and place is self._full):
                    place.send(True)
                elif now - self._newest.begun_s > _EMPTY_S:
                    self._pva.post(self._prefix + name, no_image_fields(), new_only=True)

    def _send_full(self, new_only: bool) -> None:  # noqa: FBT001
        if self._shows_compressed and self._compressed:
            header, data = self._compressed.image
            missing = self._newest.missing_in(header.head)
            pixel_type = np.dtype(header.dtype)
            fields = compressed_fields(
                data, COMPRESSION, header.shape, pixel_type, header.head, modules_missing=missing
            )
            self._pva.post(self._prefix + IMAGE, fields, new_only=new_only)
            return
        self._compressed_here += self._section.codec != "none"
        self._post(IMAGE, self._newest.pixels, self._section.codec, new_only=new_only)

    def _send_preview(self, new_only: bool) -> None:  # noqa: FBT001
        section, image, codec = self._section, self._newest.pixels, "none"
        if section.preview_codec == "jpeg" and (image.ndim == 2 or color_mode(image.shape)):
            image, codec = colours_last(image), "jpeg"
        colours = 3 if color_mode(image.shape) else 1
        factor = binning(image.shape, section.preview_pixels * colours, section.preview_size)
        small = np.ascontiguousarray(thinned(image, factor))
        if codec == "jpeg":
            small = eight_bits(small)
        self._post(PREVIEW, small, codec, new_only=new_only, factor=factor, full_shape=image.shape)

    def _post(self, name: str, image: np.ndarray, codec: str, *, new_only: bool, **thinning: Any) -> None:
        fields = image_fields(
            image,
            self._newest.head,
            modules_missing=self._newest.missing_in(self._newest.head),
            codec="" if codec == "none" else codec,
            **thinning,
        )
        self._pva.post(self._prefix + name, fields, new_only=new_only)

    def _send_ca(self, _: bool) -> None:  # noqa: FBT001
        most, image, head = self._section.ca_pixels, self._newest.pixels, self._newest.head
        small = thinned(image, binning(image.shape, most))
        if small.size <= most:
            self._ca_stream.send(encode_small(SmallImage(small, head.pulse_id, head.unique_id, head.timestamp_ns)))
