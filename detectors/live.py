"""Live data for scripts: iterators over the frames and images in the shared memory of this host."""

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Generic, Self, TypeVar

import numpy as np

from detectors.assembly.sync import Matched
from detectors.config import Config, load_config
from detectors.errors import CapacityError, ConfigError
from detectors.frame import FrameHead
from detectors.image_head import ImageHead
from detectors.pixels import FrameLayout
from detectors.pools.pebble_reader import FoundFrame, PebbleReader
from detectors.sources.module_stream import LocalModule, Modules
from detectors.worker_names import worker_name
from detectors.workers.detector_modules import DetectorModules
from detectors.workers.gather import Assembler, Gatherer

T = TypeVar("T")

_LOOK_S: Final = 0.1
"""How soon ``stop`` is noticed, s."""

_GATHER_S: Final = 0.008
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
        self._reader: PebbleReader | None = None
        self._layout = FrameLayout((0,), "uint8")
        self._room: _Room | None = None
        """For frames as that reader has them."""
        self._found: deque[FoundFrame] = deque()
        """Frames of that reader that are to be given out."""

    @property
    def problem(self) -> str:
        """Why frames cannot be read; empty when they can."""
        return self._module.problem

    def _take(self, timeout_s: float) -> tuple[FrameHead, np.ndarray] | None:
        if not self._found:
            self._look(timeout_s)
        while self._found and self._reader and self._room:
            frame = self._found.popleft()
            data, pixels = self._room.take()
            if self._layout.is_packed:
                self._layout.unpack(frame.data, data)
            else:
                np.copyto(pixels, frame.data)
            if self._reader.check(frame):
                return frame.head, data
            self.missed += 1
        return None

    def _look(self, timeout_s: float) -> None:
        """Find the frames that were finished since the last look. Raises CapacityError when ``out`` does not fit them."""
        self._pace.rest()
        finished = self._modules.poll(timeout_s)
        self._pace.looked()
        if finished:
            self._follow()
        for _, pulse_id in finished:
            frame = self._reader.find(pulse_id) if self._reader else None
            if frame:
                self._found.append(frame)
            else:
                self.missed += 1

    def _follow(self) -> None:
        """Read from the pebble that is there now. Raises CapacityError."""
        reader = self._module.attached()
        if reader and reader is not self._reader:
            self._layout = layout = FrameLayout(tuple(reader.info["shape"]), reader.info["dtype"])
            self._room = _Room(self._out, layout.shape, layout.pixel_type)
        self._reader = reader

    def close(self) -> None:
        """Free sockets and memory. Arrays given out stay good. Idempotent."""
        self._found.clear()
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
        self._assembler: Assembler | None = None
        self._room: _Room | None = None
        """For images as that assembler makes them."""

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
        if assembler is not self._assembler and assembler:
            self._room = _Room(self._out, assembler.shape, assembler.pixel_type)
        self._assembler = assembler
        if self._room:
            data, pixels = self._room.take()
            header = self._gatherer.assemble(matched, pixels)
            if header:
                return header.head, data
        self.missed += 1
        return None

    def close(self) -> None:
        """Free sockets and memory. Arrays given out stay good. Idempotent."""
        self._gatherer.close()


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


class _Room:
    """Memory for frames or images: ``out``, or an array for each. Raises CapacityError when ``out`` does not fit."""

    def __init__(self, out: np.ndarray | None, shape: tuple[int, ...], wanted: np.dtype) -> None:
        if out is not None and (
            out.shape != shape or out.dtype != wanted or not out.flags.c_contiguous or not out.flags.writeable
        ):
            raise CapacityError(
                f"out: found {list(out.shape)} {out.dtype}, expected {list(shape)} {wanted}, contiguous and writable"
            )
        self._shape, self._type = shape, wanted
        self._given = None if out is None else (out, out.reshape(-1).view(np.uint8))

    def take(self) -> tuple[np.ndarray, np.ndarray]:
        """Return an array and its bytes."""
        if self._given:
            return self._given
        data = np.empty(self._shape, self._type)
        return data, data.reshape(-1).view(np.uint8)
