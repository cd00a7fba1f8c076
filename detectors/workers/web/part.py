"""The worker that shows the detector in browsers: images from shared memory while one watches, and how all workers are.

It looks at the modules' memory when an image is due and takes the newest: no receiver sends it anything, or waits for it.
"""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import astuple
from typing import Any, Final

import imagecodecs
import numpy as np

from detectors.config import Config
from detectors.errors import ConfigError, HostError
from detectors.image_head import ImageHead
from detectors.runtime import Runtime
from detectors.stats import BrowserStats, ImageStats, WebStatus
from detectors.wire.web_image import encode_web, flat_image, scaled
from detectors.workers.account import Account
from detectors.workers.gather import Gatherer
from detectors.workers.rates import RateMeter
from detectors.workers.runtime import IDLE_S, run_worker
from detectors.workers.wake import Wake
from detectors.workers.web.board import Form, Wish

WORKER: Final = "web"

_LOOK_S: Final = 0.005, 0.05
"""Shortest and longest time between two looks for an image that is due, s."""

_REST_S: Final = 2.0
"""After the last browser has gone the modules' memory is kept for so long, s: a page that is loaded again wants it at once."""

_ACTIVE_S: Final = 2.0
"""Without a new image for this long, or two periods, the state is Waiting, s."""

_NICE: Final = 5
"""Added to the worker's niceness: receivers go first."""

_JPEG_LEVEL: Final = 85


def run(config: Config) -> int:
    """Serve the page until it is to stop. Returns the exit code.

    Raises ConfigError without a [web] section, HostError when the address is refused or a package is missing.
    """
    runtime = Runtime(config.detector.prefix)
    return run_worker(WebPart(config, runtime), runtime, config.run.drain_s)


class LiveView:
    """The images of one detector, gathered while a browser wants them."""

    def __init__(self, config: Config, runtime: Runtime, detector: str) -> None:
        assert config.web
        sources = config.detectors[detector]
        self._detector = detector
        self._section = config.web
        self._gatherer = Gatherer(config, runtime, sources, config.image_rules(sources), look=True)
        self._gathering = False
        self._image = np.empty(0, np.uint8)
        self._due_s = 0.0
        self._wanted_s = self._begun_s = float("-inf")
        self.taken_s = float("-inf")
        """When the last image was gathered, on the monotonic clock."""
        self.head = ImageHead(0)
        """Of that image."""
        self.message = ""
        """Why no image comes; empty while some do, or none is wanted. For any thread."""

    @property
    def stats(self) -> ImageStats:
        """Fate of the images that were due."""
        return self._gatherer.image_stats(self._gatherer.assembled)

    def step(self, now: float, forms: Sequence[Form]) -> tuple[float, dict[Wish, bytes]]:
        """Return how long to wait for the next image, and the newest in these forms where one is due."""
        if forms:
            self._wanted_s = now
        gather = now - self._wanted_s < _REST_S
        if gather != self._gathering:
            self._gather(now, on=gather)
        if not forms:
            self.message = ""
            return IDLE_S, {}
        left_s = self._due_s - now
        if left_s > 0:
            return left_s, {}
        period_s = 1 / self._section.image_hz
        if not self._take_newest(now):
            if now - max(self.taken_s, self._begun_s) > max(_ACTIVE_S, 2 * period_s):
                self.message = self._gatherer.state()[1] or "no new image"
            return min(max(period_s / 8, _LOOK_S[0]), _LOOK_S[1]), {}
        self.message = ""
        # On the grid, but a pause is not made up for by a burst.
        self._due_s = (self._due_s if now - self._due_s < period_s else now) + period_s
        return max(_LOOK_S[0], self._due_s - time.monotonic()), self._messages(forms)

    def close(self) -> None:
        """Let go of the modules' memory."""
        self._gatherer.close()

    def _gather(self, now: float, *, on: bool) -> None:
        """Attach to the modules' memory, or detach."""
        self._gathering, self._begun_s = on, now
        if on:
            self._gatherer.open()
        else:
            self._gatherer.close()
            self._image = np.empty(0, np.uint8)

    def _take_newest(self, now: float) -> bool:
        """Gather the newest image, and return whether there is one that was not gathered before."""
        matched = self._gatherer.newest()
        assembler = self._gatherer.assembler
        if matched is None or assembler is None:
            return False
        if self._image.shape != assembler.shape or self._image.dtype != assembler.pixel_type:
            self._image = np.empty(assembler.shape, assembler.pixel_type)
        header = self._gatherer.assemble(matched, self._image.reshape(-1).view(np.uint8))
        if header is None:
            return False
        self.head, self.taken_s = header.head, now
        return True

    def _messages(self, forms: Sequence[Form]) -> dict[Wish, bytes]:
        """Return the image in these forms."""
        small, factor = flat_image(self._image, self._section.pixels)
        missing = len(self._gatherer.sources) - self.head.present.bit_count()
        found: dict[Wish, bytes] = {}
        for form in forms:
            image = scaled(small, 16 if form == "16" else 8)
            if form == "jpeg":
                found[self._detector, form] = bytes(imagecodecs.jpeg8_encode(image.pixels, level=_JPEG_LEVEL))
            else:
                found[self._detector, form] = encode_web(
                    image,
                    self.head,
                    factor=factor,
                    full=self._image,
                    modules_missing=missing,
                    now_ns=time.time_ns(),
                )
        return found


class WebPart:
    """The part of a worker that serves the page."""

    name = WORKER
    blocks: Mapping[str, Sequence[str]] = {}
    commands: Mapping[str, Any] = {}
    empty = WebStatus()

    def __init__(self, config: Config, runtime: Runtime) -> None:
        if config.web is None:
            raise ConfigError("web: missing; give a [web] section")
        self._config, self._section = config, config.web
        self._runtime = runtime
        self._views = {detector: LiveView(config, runtime, detector) for detector in config.detectors}
        self._images = 0
        self._rates = RateMeter()

    def open(self, stack: ExitStack, wake: Wake, account: Account) -> str:  # noqa: ARG002
        """Serve the page. Raises HostError when the address is refused or a package is missing."""
        try:
            from detectors.workers.web.site import Site
        except ModuleNotFoundError as error:
            raise HostError(
                f"web: found no package {error.name}, which the page needs; install the extra: pip install 'pebbledaq[web]'"
            ) from None
        with suppress(OSError):
            os.nice(_NICE)
        self._site = Site(self._config, self._runtime, wake.ring, self._why_waiting)
        stack.callback(self._site.close)
        for view in self._views.values():
            stack.callback(view.close)
        return self._address

    @property
    def _address(self) -> str:
        return f"http://{self._section.host}:{self._site.port}/"

    def step(self) -> float:
        """Show the newest image of each detector where one is due. Return how long to wait. Raises HostError."""
        if not self._site.works:
            raise HostError("web: the server has ended; see the log for its error")
        wanted, waits = self._site.board.wanted, [IDLE_S]
        for detector, view in self._views.items():
            wait_s, messages = view.step(time.monotonic(), [form for name, form in wanted if name == detector])
            waits.append(wait_s)
            if messages:
                self._site.post(messages)
                self._images += 1
        return min(waits)

    def snapshot(self) -> WebStatus:
        """Return what there is to know."""
        now, board = time.monotonic(), self._site.board
        last = max(self._views.values(), key=lambda view: view.taken_s)
        fresh = now - last.taken_s < max(_ACTIVE_S, 2 / self._section.image_hz)
        counts = [astuple(view.stats) for view in self._views.values()]
        return WebStatus(
            state="Idle" if not board.wanted else "Showing" if fresh else "Waiting",
            message="; ".join(filter(None, (view.message for view in self._views.values()))),
            pulse_id=last.head.pulse_id,
            data_ns=last.head.timestamp_ns,
            images=ImageStats(*map(sum, zip(*counts, strict=True))),
            browsers=BrowserStats(
                clients=board.browsers,
                images=self._images,
                images_hz=self._rates.add(now, self._images, 0, 0).frames_hz,
                sent=board.sent,
                skipped=board.skipped,
                requests=self._site.requests,
            ),
            address=self._address,
            port=self._site.port,
        )

    def finish(self, deadline_s: float) -> None:
        """Leave the last image: it has been sent."""

    def _why_waiting(self, detector: str) -> str:
        return self._views[detector].message
