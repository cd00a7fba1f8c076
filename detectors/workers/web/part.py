"""The worker that shows the detector in browsers: images while one watches, and how all workers are.

It looks at the modules' memory when an image is due and takes the newest: no receiver sends it anything, or waits for it. Where
not all modules are on its host, it takes the images from the stream of whole ones.
"""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import astuple
from typing import Any, Final

from detectors.config import Config
from detectors.errors import ConfigError, HostError
from detectors.extras import extra, image_codecs
from detectors.stats import BrowserStats, ImageStats, WebStatus
from detectors.wire.web_image import encode_web, flat_image, scaled
from detectors.worker_names import WEB
from detectors.workers.account import Account
from detectors.workers.newest_image import NewestImage, next_due
from detectors.workers.rates import RateMeter
from detectors.workers.runtime import IDLE_S, run_worker
from detectors.workers.wake import Wake
from detectors.workers.web.board import PixelForm, Wish

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
    return run_worker(WebPart(config), config)


class LiveView:
    """The images of one detector, gathered while a browser wants them."""

    def __init__(self, config: Config, detector: str) -> None:
        assert config.web
        self._detector = detector
        self._section = config.web
        self.newest = NewestImage(config, config.detectors[detector], config.web.host)
        self._due_s = 0.0
        self._wanted_s = float("-inf")
        self.message = ""
        """Why no image comes; empty while some do, or none is wanted. For any thread."""

    @property
    def stats(self) -> ImageStats:
        """Fate of the images that were due."""
        return self.newest.gatherer.image_stats(self.newest.gatherer.assembled)

    def step(self, now: float, forms: Sequence[PixelForm]) -> tuple[float, dict[Wish, bytes]]:
        """Return how long to wait for the next image, and the newest in these forms where one is due."""
        if forms:
            self._wanted_s = now
        newest = self.newest
        newest.gather(now, on=now - self._wanted_s < _REST_S)
        look_s = newest.look()
        if not forms:
            self.message = ""
            return look_s, {}
        left_s = self._due_s - now
        if left_s > 0:
            return min(look_s, left_s), {}
        period_s = 1 / self._section.image_hz
        if not newest.take(now):
            if now - max(newest.taken_s, newest.begun_s) > max(_ACTIVE_S, 2 * period_s):
                self.message = newest.gatherer.state()[1] or "no new image"
            return min(max(period_s / 8, _LOOK_S[0]), _LOOK_S[1]), {}
        self.message = ""
        self._due_s = next_due(self._due_s, now, period_s)
        return min(look_s, max(_LOOK_S[0], self._due_s - time.monotonic())), self._messages(forms)

    def _messages(self, forms: Sequence[PixelForm]) -> dict[Wish, bytes]:
        """Return the image in these forms."""
        newest = self.newest
        small, factor = flat_image(newest.pixels, self._section.pixels)
        found: dict[Wish, bytes] = {}
        for form in forms:
            image = scaled(small, 16 if form == "16" else 8)
            if form == "jpeg":
                found[self._detector, form] = bytes(image_codecs().jpeg8_encode(image.pixels, level=_JPEG_LEVEL))
            else:
                found[self._detector, form] = encode_web(
                    image,
                    newest.head,
                    factor=factor,
                    full=newest.pixels,
                    modules_missing=newest.modules_missing,
                    now_ns=time.time_ns(),
                )
        return found


class WebPart:
    """The part of a worker that serves the page."""

    name = WEB
    blocks: Mapping[str, Sequence[str]] = {}
    commands: Mapping[str, Any] = {}
    empty = WebStatus()

    def __init__(self, config: Config) -> None:
        if config.web is None:
            raise ConfigError("web: missing; give a [web] section")
        self._config, self._section = config, config.web
        self._views = {detector: LiveView(config, detector) for detector in config.detectors}
        self._images = 0
        self._rates = RateMeter()

    def open(self, stack: ExitStack, wake: Wake, account: Account) -> str:  # noqa: ARG002
        """Serve the page. Raises HostError when the address is refused or a package is missing."""
        with extra("web", "web"):
            from detectors.workers.web.site import Site
        with suppress(OSError):
            os.nice(_NICE)
        self._site = Site(self._config, wake.ring, self._why_waiting)
        stack.callback(self._site.close)
        for view in self._views.values():
            stack.callback(view.newest.close)
        return self._address

    @property
    def _address(self) -> str:
        return f"http://{self._section.address}:{self._site.port}/"

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
        last = max((view.newest for view in self._views.values()), key=lambda newest: newest.taken_s)
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
