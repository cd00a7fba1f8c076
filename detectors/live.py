"""Live data for scripts: iterators over frames and images, of this host's shared memory and of streams."""

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Generic, Literal, Self, TypeVar

import numpy as np
import zmq

from detectors.assembly.sync import Matched
from detectors.config import Config, load_config
from detectors.curve import CurveKeys
from detectors.errors import CapacityError, ConfigError, WireError
from detectors.frame import FrameHead
from detectors.image_head import ImageHead
from detectors.pixels import FrameLayout
from detectors.sources.module_stream import LocalModule, Modules
from detectors.sources.subscriptions import Sender, Subscriptions
from detectors.wire.array10 import ImageHeader, decode_image
from detectors.wire.module_message import parse_module_message
from detectors.wire.result_message import ResultHead, decode_result
from detectors.worker_names import worker_name
from detectors.workers.detector_modules import DetectorModules
from detectors.workers.gather import Gatherer

T = TypeVar("T")

_LOOK_S: Final = 0.1
"""How soon ``stop`` is noticed, s."""

_QUEUE: Final = 100
"""Messages that wait in a client."""

_GATHER_S: Final = 0.004
"""Least time between two looks at what modules of this host have finished, s: it gathers meanwhile, and one wait is for several."""


class Live(ABC, Generic[T]):
    """An iterator that ends when nothing came for ``timeout_s`` (None: never), or when ``stop`` is set. For one thread."""

    def __init__(self, timeout_s: float | None, stop: threading.Event | None) -> None:
        self._timeout_s = float("inf") if timeout_s is None else timeout_s
        self._stop = stop or threading.Event()
        self.missed = 0
        """Frames or images that could not be had: overwritten before they were read, malformed or too large."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        deadline = time.monotonic() + self._timeout_s
        while not self._stop.is_set():
            left_s = deadline - time.monotonic()
            item = self._take(max(0.0, min(_LOOK_S, left_s)))
            if item is not None:
                return item
            if left_s <= 0:
                break
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _take(self, timeout_s: float) -> T | None:
        """Return the next item; None when there was none within ``timeout_s``, or when it was missed."""

    @abstractmethod
    def close(self) -> None:
        """Free sockets and memory. Arrays given out stay good. Idempotent."""


class LiveFrames(Live[tuple[FrameHead, np.ndarray]]):
    """Frames of one module of this host, straight from its shared memory, from now on.

    ``config`` is the server's configuration or the path of its file, ``module`` the name of a source in it. Each frame is
    copied once, into an array of its own, or into ``out`` when that is given: the next frame then overwrites it. A frame
    that its module overwrites meanwhile is never given out; it is counted as missed. Waits for a module that is not
    running. Raises ConfigError for an unknown module; while iterating, CapacityError when ``out`` does not fit.
    """

    def __init__(
        self,
        config: Config | Path | str,
        module: str,
        *,
        out: np.ndarray | None = None,
        timeout_s: float | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        super().__init__(timeout_s, stop)
        config = _loaded(config)
        sources = {source.name: source for source in (*config.udp, *config.pva)}
        if module not in sources:
            raise ConfigError(f"module: found {module!r}, expected one of {', '.join(sources)}")
        runtime, worker = config.runtime_names, worker_name(sources[module])
        self._module = LocalModule(runtime.shm(worker), None)
        self._modules = Modules([runtime.notify(worker)], [self._module])
        self._out, self._pace = out, _Pace()
        self._pulses: deque[int] = deque()
        self._info: dict[str, Any] | None = None
        self._layout = FrameLayout((0,), "uint8")
        """As ``_info`` says."""

    @property
    def problem(self) -> str:
        """Why frames cannot be read; empty when they can."""
        return self._module.problem

    def _take(self, timeout_s: float) -> tuple[FrameHead, np.ndarray] | None:
        if not self._pulses:
            self._pace.rest()
            self._pulses.extend(pulse_id for _, pulse_id in self._modules.poll(timeout_s))
            self._pace.looked()
        while self._pulses:
            pulse_id = self._pulses.popleft()
            info = self._module.info()
            if info:
                if info is not self._info:
                    self._info, self._layout = info, FrameLayout(tuple(info["shape"]), info["dtype"])
                layout = self._layout
                data = _room(self._out, layout.shape, layout.pixel_type)
                stored = np.empty(layout.data_bytes, np.uint8) if layout.is_packed else data.reshape(-1).view(np.uint8)
                head = self._module.read(pulse_id, stored)
                if head:
                    if layout.is_packed:
                        layout.unpack(stored, data)
                    return head, data
            self.missed += 1
        return None

    def close(self) -> None:
        """Free sockets and memory. Arrays given out stay good. Idempotent."""
        self._modules.close()


class LiveImages(Live[tuple[ImageHead, np.ndarray]]):
    """Images of a detector, put together from the shared memory of this host and the module streams of others, from now on.

    As ``LiveFrames``; the section ``[stream]`` of the configuration says how modules are put in step. ``missed`` are images
    of which a frame was overwritten; a module that is silent for ``missing_after_s`` is left out, as zeros.
    """

    def __init__(
        self,
        config: Config | Path | str,
        detector: str = "",
        *,
        host: str | None = None,
        out: np.ndarray | None = None,
        timeout_s: float | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """``detector``: a PVA source, or the detector of the modules; needed where there are several.

        ``host``: name of this host in the configuration; None: that of the IOC.
        """
        super().__init__(timeout_s, stop)
        config = _loaded(config)
        sources = config.sources_of(detector)
        rules = config.image_rules(sources)
        mosaic = config.mosaic_of(sources)
        self._gatherer = Gatherer(DetectorModules(config, sources, rules, host, mosaic=mosaic))
        self._gatherer.open()
        self._out, self._pace = out, _Pace()
        self._matched: Iterator[Matched] = iter(())

    @property
    def problem(self) -> str:
        """Why there are no images; empty when there are."""
        return self._gatherer.state()[1]

    def _take(self, timeout_s: float) -> tuple[ImageHead, np.ndarray] | None:
        matched = next(self._matched, None)
        if matched is None:
            self._pace.rest()
            self._matched = self._gatherer.step(timeout_s)
            matched = next(self._matched, None)
            self._pace.looked()
        if matched is None:
            return None
        assembler = self._gatherer.assembler
        if assembler is not None:
            data = _room(self._out, assembler.shape, assembler.pixel_type)
            header = self._gatherer.assemble(matched, data.reshape(-1).view(np.uint8))
            if header:
                return header.head, data
        self.missed += 1
        return None

    def close(self) -> None:
        """Free sockets and memory. Arrays given out stay good. Idempotent."""
        self._gatherer.close()


class ModuleStream(Live[tuple[FrameHead, np.ndarray]]):
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
        super().__init__(timeout_s, stop)
        self._layout = FrameLayout(shape, dtype)
        self._sockets = Subscriptions([Sender(address, _QUEUE, self._layout.data_bytes)], keys=keys)

    def _take(self, timeout_s: float) -> tuple[FrameHead, np.ndarray] | None:
        parts = self._sockets.receive_one(timeout_s)
        if parts is None:
            return None
        try:
            head, data = parse_module_message(parts, self._layout.data_bytes)
        except WireError:
            self.missed += 1
            return None
        return head, self._layout.read(data)

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._sockets.close()


class ImageStream(Live[tuple[ImageHeader, np.ndarray | None]]):
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
        super().__init__(timeout_s, stop)
        socket = zmq.PULL if kind == "full" else zmq.SUB
        self._sockets = Subscriptions([Sender(address, _QUEUE, max_image_bytes)], socket, keys)
        self._max_bytes = max_image_bytes

    def _take(self, timeout_s: float) -> tuple[ImageHeader, np.ndarray | None] | None:
        parts = self._sockets.receive_one(timeout_s)
        if parts is None:
            return None
        try:
            return decode_image(parts, self._max_bytes)
        except WireError:
            self.missed += 1
            return None

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._sockets.close()


class ResultStream(Live[tuple[ResultHead, np.ndarray]]):
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
        super().__init__(timeout_s, stop)
        self._sockets = Subscriptions([Sender(address, _QUEUE, max_bytes)], zmq.SUB, keys)

    def _take(self, timeout_s: float) -> tuple[ResultHead, np.ndarray] | None:
        parts = self._sockets.receive_one(timeout_s)
        if parts is None:
            return None
        try:
            return decode_result(parts)
        except WireError:
            self.missed += 1
            return None

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._sockets.close()


class _Pace:
    """Looks that are not too close to one another. What comes after a pause is looked at without delay."""

    def __init__(self) -> None:
        self._next_s = float("-inf")

    def rest(self) -> None:
        """Wait until a look is due."""
        wait_s = self._next_s - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)

    def looked(self) -> None:
        """Note the end of a look."""
        self._next_s = time.monotonic() + _GATHER_S


def _loaded(config: Config | Path | str) -> Config:
    return config if isinstance(config, Config) else load_config(Path(config))


def _room(out: np.ndarray | None, shape: tuple[int, ...], wanted: np.dtype) -> np.ndarray:
    """Return memory for a frame or an image: ``out``, or an array of its own. Raises CapacityError when ``out`` does not fit."""
    if out is None:
        return np.empty(shape, wanted)
    if out.shape != shape or out.dtype != wanted or not out.flags.c_contiguous or not out.flags.writeable:
        raise CapacityError(
            f"out: found {list(out.shape)} {out.dtype}, expected {list(shape)} {wanted}, contiguous and writable"
        )
    return out
