"""The page and what it asks for: a small web server on a thread of its own. Nothing here changes the detector."""

import asyncio
import os
import socket
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib.resources import files
from typing import Final
from urllib.parse import urlsplit

import orjson
import uvicorn
import zmq
import zmq.asyncio
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from detectors.config import Config, WebSection
from detectors.errors import HostError
from detectors.worker_names import worker_name
from detectors.workers.commands import MAX_MESSAGE_BYTES
from detectors.workers.web.board import Board, PixelForm, Wish
from detectors.workers.web.metrics import CONTENT_TYPE, metrics_text
from detectors.workers.web.status import status_tree
from detectors.workers.web.watch import Watch

_FILES: Final = {
    "/": ("index.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
}

_TICK_S: Final = 1.0
"""Between two looks at who is silent and how fast data comes, s."""

_FRESH_S: Final = 0.2
"""A status is made again when the last one is older than this, s: many browsers cost little more than one."""

_PICTURE_S: Final = 3.0
"""How long a request for a picture waits for an image, s."""

_MOST_CONNECTIONS: Final = 200
_ENOUGH_S: Final = 1.0
"""How long the server may take to end, s."""


class Site:
    """Context manager around the server's thread. Raises HostError when the address cannot be had.

    ``wake`` is called when browsers come or go; ``waiting(detector)`` says why there is no image.
    """

    def __init__(self, config: Config, wake: Callable[[], None], waiting: Callable[[str], str]) -> None:
        assert config.web
        self._config = config
        self._runtime = config.runtime_names
        self._wake = wake
        self._waiting = waiting
        sources = [worker_name(source) for source in (*config.udp, *config.pva) if source.enabled]
        self._watch = Watch(sources, config.alarms.window_s)
        self._subscribed: set[str] = set()
        self._status = b"{}", float("-inf")
        self.board = Board()
        self.requests = 0
        self._socket = _listen(config.web)
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._application(),
                log_config=None,
                log_level="warning",
                access_log=False,
                lifespan="on",
                loop="asyncio",
                http="h11",
                ws="websockets-sansio",
                ws_per_message_deflate=False,
                ws_max_size=1024,
                limit_concurrency=_MOST_CONNECTIONS,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._thread.start()

    @property
    def works(self) -> bool:
        """Whether the server runs."""
        return self._thread.is_alive()

    def post(self, messages: Mapping[Wish, bytes]) -> None:
        """Show an image. For any thread."""
        with suppress(RuntimeError):  # the loop has just ended
            self._loop.call_soon_threadsafe(self.board.post, messages)

    def close(self) -> None:
        """End the server."""
        self._server.should_exit = True
        self._thread.join(_ENOUGH_S)
        self._socket.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._server.serve(sockets=[self._socket]))
        finally:
            self._loop.close()

    def _application(self) -> Starlette:
        routes = [
            *(Route(path, self._file(name, kind)) for path, (name, kind) in _FILES.items()),
            Route("/api/status", self._counted(self._api_status)),
            Route("/metrics", self._counted(self._metrics)),
            Route("/preview.jpg", self._counted(self._preview)),
            WebSocketRoute("/images", self._images),
        ]
        return Starlette(routes=routes, lifespan=self._life)

    @asynccontextmanager
    async def _life(self, _: Starlette) -> AsyncGenerator[None]:
        """Watch the workers while the server runs."""
        context = zmq.asyncio.Context()
        subscriber = context.socket(zmq.SUB)
        subscriber.linger = 0
        subscriber.maxmsgsize = MAX_MESSAGE_BYTES
        subscriber.subscribe(b"")
        tasks = [asyncio.create_task(self._listen(subscriber)), asyncio.create_task(self._tick(subscriber))]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            context.destroy(linger=0)

    async def _listen(self, subscriber: zmq.asyncio.Socket) -> None:
        while True:
            message = await subscriber.recv()
            with suppress(ValueError, KeyError, TypeError):  # what is no snapshot is no worker's
                self._watch.take(orjson.loads(message), time.monotonic())

    async def _tick(self, subscriber: zmq.asyncio.Socket) -> None:
        while True:
            self._subscribe(subscriber)
            self._watch.tick(time.monotonic())
            await asyncio.sleep(_TICK_S)

    def _subscribe(self, subscriber: zmq.asyncio.Socket) -> None:
        """Subscribe to the sources, and to every other worker of the prefix as soon as it publishes."""
        ending = ".status"
        others = (path.name.removesuffix(ending) for path in self._runtime.folder.glob(f"*{ending}"))
        for worker in {*self._watch.sources, *others} - self._subscribed:
            subscriber.connect(self._runtime.status(worker))
            self._subscribed.add(worker)

    def _file(self, name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
        content = (files("detectors.workers.web") / "static" / name).read_bytes()

        async def answer(_: Request) -> Response:
            return Response(content, media_type=kind, headers=_HEADERS)

        return self._counted(answer)

    def _counted(self, answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def counted(request: Request) -> Response:
            self.requests += 1
            return await answer(request)

        return counted

    async def _api_status(self, _: Request) -> Response:
        content, made_s = self._status
        now_s = time.monotonic()
        if now_s - made_s > _FRESH_S:
            tree = status_tree(self._config, self._watch, now_s)
            tree["waiting"] = {detector: self._waiting(detector) for detector in self._config.detectors}
            content = orjson.dumps(tree)
            self._status = content, now_s
        return Response(content, media_type="application/json", headers=_HEADERS)

    async def _metrics(self, _: Request) -> Response:
        workers = {name: (worker.responding, worker.snapshot) for name, worker in self._watch.workers.items()}
        return Response(metrics_text(workers, self._config.detector.name), media_type=CONTENT_TYPE, headers=_HEADERS)

    async def _preview(self, request: Request) -> Response:
        wish = self._wish(request, "jpeg")
        if wish is None:
            return Response("no such detector\n", 404, media_type="text/plain", headers=_HEADERS)
        with self._shown(wish):
            try:
                posted = await asyncio.wait_for(self.board.next(wish, 0), _PICTURE_S)
            except TimeoutError:
                why = self._waiting(wish[0]) or "no image came"
                return Response(f"no image: {why}\n", 503, media_type="text/plain", headers=_HEADERS)
        return Response(posted.message, media_type="image/jpeg", headers=_HEADERS)

    async def _images(self, browser: WebSocket) -> None:
        """Send the newest image again and again; what a browser has no time for is skipped, for it alone."""
        origin = browser.headers.get("origin")
        wish = self._wish(browser, "8" if browser.query_params.get("bits") == "8" else "16")
        if wish is None or (origin and urlsplit(origin).netloc != browser.headers.get("host")):
            await browser.close(1008)  # a page of another site, or no detector of ours
            return
        await browser.accept()
        with self._shown(wish):
            sending = asyncio.create_task(self._send(browser, wish))
            try:
                while True:  # browsers say nothing, but this is how their end is seen
                    await browser.receive_text()
            except (WebSocketDisconnect, KeyError):
                pass
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)

    def _wish(self, request: HTTPConnection, form: PixelForm) -> Wish | None:
        """Return what a request asks for: of the first detector, unless it names one. None: there is none of that name."""
        known = self._config.detectors
        detector = request.query_params.get("detector") or next(iter(known))
        return (detector, form) if detector in known else None

    async def _send(self, browser: WebSocket, wish: Wish) -> None:
        board, seen = self.board, 0
        try:
            while True:
                posted = await board.next(wish, seen)
                board.skipped += posted.number - seen - 1 if seen else 0
                seen = posted.number
                await browser.send_bytes(posted.message)
                board.sent += 1
        finally:  # one that left, or was stuck: what came since is skipped
            board.skipped += board.number(wish) - seen if seen else 0

    @contextmanager
    def _shown(self, wish: Wish) -> Generator[None]:
        """Let images be made, at once."""
        with self.board.waiting(wish):
            self._wake()
            yield


def _listen(section: WebSection) -> socket.socket:
    try:
        return socket.create_server((str(section.address), section.port), backlog=128)
    except OSError as error:
        raise HostError(
            f"web: {section.address}:{section.port}: {os.strerror(error.errno or 0)}; give another address or port in the section [web]"
        ) from None
