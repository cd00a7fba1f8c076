"""The worker that applies a user's function to live images: it gathers them into shared memory, and never waits for the function.

Images are taken in order. When no slot is free, because the function is too slow, the image is dropped and counted.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Final

from detectors.assembly.sync import Matched
from detectors.config import Config, ProcessSection
from detectors.errors import ConfigError
from detectors.image_head import ImageHead
from detectors.outputs.results import ResultOutput
from detectors.pools.shared_slots import SharedSlots
from detectors.stats import PoolStats, ProcessingStatus
from detectors.worker_names import PROCESS
from detectors.workers.account import Account
from detectors.workers.detector_modules import DetectorModules
from detectors.workers.gather import Assembler, Gatherer
from detectors.workers.process.caller import Loading
from detectors.workers.process.fates import ImageFates
from detectors.workers.process.function_pool import FunctionPool, ImageJob
from detectors.workers.process.messages import Results, StoredImage
from detectors.workers.process.total import LiveTotal
from detectors.workers.rates import RateMeter
from detectors.workers.runtime import IDLE_S, run_worker
from detectors.workers.wake import Wake

PART: Final = "Process:"
"""What the names of its PVs begin with, behind the prefix of the server."""

_STATES: Final = {"Starting": "Idle", "Assembling": "Processing"}
"""What the states of the gathering are here: it waits for the first image when every process has loaded the function."""


def run(config: Config, spec: str | None = None, *, workers: int | None = None, detector: str | None = None) -> int:
    """Apply the function to live images until it is to stop; return the exit code. What is given replaces the [process] section.

    Raises ConfigError without a function, or for one that cannot be loaded, HostError when a port, an address or the memory is
    refused.
    """
    config = with_function(config, spec, workers=workers, detector=detector)
    return run_worker(ProcessPart(config), config)


def with_function(config: Config, spec: str | None, *, workers: int | None, detector: str | None) -> Config:
    """Return the configuration with what a command line says of its [process] section. Raises ConfigError without a function."""
    if config.process is None and spec is None:
        raise ConfigError("process: missing; give a function, module:name or file.py:name, or a [process] section")
    section = config.process or ProcessSection.model_construct(function=spec or "")
    if not all((spec or section.function).rpartition(":")):
        raise ConfigError(f"process.function: found {spec or section.function!r}, expected module:name or file.py:name")
    given = {"function": spec, "workers": workers, "detector": detector}
    changes = {name: value for name, value in given.items() if value is not None}
    return config.model_copy(update={"process": section.model_copy(update=changes)})


class ProcessPart:
    """The part of a worker that applies a user's function."""

    name = PROCESS
    blocks: Mapping[str, Sequence[str]] = {}
    empty = ProcessingStatus()

    def __init__(self, config: Config) -> None:
        assert config.process
        self._section = section = config.process
        self._config = config
        self._memory = config.runtime_names.shm(PROCESS)
        sources = config.sources_of(section.detector)
        rules, mosaic = config.image_rules(sources), config.mosaic_of(sources)
        self._gatherer = Gatherer(DetectorModules(config, sources, rules, section.host, mosaic=mosaic))
        self._detector = config.detector_of(sources[0])
        self._fates = ImageFates()
        self._gathering = False
        self._slots: SharedSlots | None = None
        self._slots_of: Assembler | None = None
        self._generation = self._gathered = 0
        self._latest = ImageHead(0)
        self._rates = RateMeter()
        self._total, self._names = 0, ""

    @property
    def commands(self) -> Mapping[str, Callable[..., Any]]:
        """A new total."""
        return {"reset": self._reset}

    def open(self, stack: ExitStack, wake: Wake, account: Account) -> str:  # noqa: ARG002
        """Serve results, and start the processes. Raises HostError when a port or an address is refused."""
        section, config = self._section, self._config
        self._wake = wake
        self._output = ResultOutput(
            config.detector.prefix + PART,
            self._detector,
            interfaces=[str(address) for address in config.ioc.interfaces],
            port=section.port,
            address=section.results,
            curve_keys=config.zmq.curve_keys,
        )
        stack.callback(self._output.close)
        stack.callback(self._gatherer.close)
        stack.callback(self._close_slots)
        self._loading = Loading(section.function, section.workers + 1, wake.ring)
        self._adder = LiveTotal(section.function, section.publish_hz, self._loading, self._fates, self._show)
        stack.callback(self._adder.close)
        self._functions = FunctionPool(section.function, section.workers, self._loading, self._adder.add)
        stack.callback(self._functions.close)
        return f"pva:{self._output.port} {self._output.address}".rstrip()

    def step(self) -> float:
        """Take the images that have come. Raises ConfigError when the function cannot be loaded."""
        if self._loading.problem:
            raise self._loading.problem
        if not self._gathering:
            if not self._loading.done:
                return IDLE_S
            self._gatherer.open(self._wake, from_now=True)
            self._gathering = True
        for matched in self._gatherer.step():
            self._image(matched)
        return self._gatherer.wait_s

    def snapshot(self) -> ProcessingStatus:
        """Return what there is to know."""
        now, gatherer, fates = time.monotonic(), self._gatherer, self._fates.stats
        state, message = gatherer.state()
        shape = gatherer.assembler.shape if gatherer.assembler else ()
        nbytes = fates.processed * (self._slots.capacity if self._slots else 0)
        return ProcessingStatus(
            state=_STATES.get(state, state) if self._gathering else "Starting",
            message=message,
            function=self._section.function,
            error=self._fates.error,
            pulse_id=self._latest.pulse_id,
            data_ns=self._latest.timestamp_ns,
            shape=" x ".join(map(str, shape)),
            dtype=gatherer.assembler.pixel_type.name if gatherer.assembler else "",
            sync=gatherer.sync_stats(),
            images=gatherer.image_stats(self._gathered),
            processing=replace(fates, processes=self._functions.running),
            total=self._total,
            names=self._names,
            results=self._output.stats,
            rates=self._rates.add(now, fates.processed, 0, nbytes),
            pool=self._slots.stats() if self._slots else PoolStats(),
            address=self._output.address,
            port=self._output.port,
        )

    def finish(self, deadline_s: float) -> None:
        """Wait for the images that were taken; what waits for a process at ``deadline_s`` is dropped, what is at work is lost."""
        if not self._fates.wait_settled(deadline_s - time.monotonic()):
            self._functions.drop_waiting()
        self._functions.close()
        self._adder.close()

    def _image(self, matched: Matched) -> None:
        slots = self._follow_size()
        slot = slots.try_acquire() if slots and slots.available else None
        header = self._gatherer.assemble(matched, None if slot is None else slot.array)
        if header is None:
            if slot is not None:
                slot.release()
            return
        self._latest = header.head
        if slot is None or slots is None:
            self._fates.drop()
            return
        assembler = self._slots_of
        assert assembler
        place = slot.slot * slots.step
        image = StoredImage(
            self._memory, self._generation, place, assembler.shape, assembler.pixel_type.str, header.head
        )
        self._gathered += 1
        self._fates.take()
        self._functions.submit(ImageJob(image, slot, time.monotonic(), self._fates))

    def _follow_size(self) -> SharedSlots | None:
        """Return memory for images of the present size; None while images of another size are at work in it."""
        assembler = self._gatherer.assembler
        if assembler is self._slots_of or assembler is None:
            return self._slots
        if self._fates.stats.queued:
            return None
        self._close_slots()
        count = self._section.workers + self._section.queue
        self._slots = SharedSlots(self._memory, count, assembler.image_bytes)
        self._slots_of = assembler
        self._generation += 1
        return self._slots

    def _close_slots(self) -> None:
        if self._slots:
            self._slots.close()

    def _reset(self) -> None:
        """Begin a new total."""
        self._adder.reset()

    def _show(self, results: Results | None, fresh: bool) -> None:  # noqa: FBT001
        """Publish results. Called on the thread of the total."""
        self._output.look()
        if not fresh:
            return
        self._total = results.images if results else 0
        if results:
            self._names = ", ".join(results.total)
            self._output.publish("total", results.total, results.images, results.head)
            self._output.publish("image", results.last, 1, results.head)
