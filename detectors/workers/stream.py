"""The assembler of live images: modules in, three image streams out. One thread, no call of which waits for a consumer."""

import os
import time
from typing import Final

import zmq

from detectors.assembly.images import ImageAssembler
from detectors.assembly.sync import Matched
from detectors.buffer.registration import software_version
from detectors.config import Config, StreamSection
from detectors.errors import CommandError, ConfigError
from detectors.outputs.zmq_image import FullStream, ImageOutput, PulseStream, ReducedStream
from detectors.pools.buffer_pool import BufferPool
from detectors.runtime import Runtime
from detectors.stats import OutputStats, PoolStats, Rates, StreamStatus
from detectors.workers.control import Control
from detectors.workers.gather import Gatherer

WORKER: Final = "stream"

_TICK_S: Final = 0.05
"""Longest wait for frames: dead modules are noticed, and the stop flag is looked at, this often, s."""

_RATE_PERIOD_S: Final = 1.0
_PULSE_HWM: Final = 1000
"""Pulse ids queued for one subscriber: 8 bytes each."""

_GATHERING: Final = 1
"""Image buffers beyond those that the streams may hold: the one that is being filled."""


def run(config: Config) -> int:
    """Assemble and stream images until told to stop. Returns the exit code.

    Raises ConfigError without a [stream] that fits the sources, HostError when an address or the memory is refused.
    """
    runtime = Runtime(config.detector.prefix)
    streamer = Streamer(config, runtime)
    handlers = {"output": streamer.set_enabled, "reduced_rate": streamer.set_reduced_rate}
    with Control(runtime, WORKER, streamer.snapshot, handlers) as control:
        try:
            streamer.open()
            print(f"READY {WORKER} {streamer.addresses}", flush=True)  # noqa: T201  supervisors wait for this line
            while not control.stop.is_set():
                streamer.step(_TICK_S)
        finally:
            streamer.close()
    return 0


class Streamer:
    """Everything between the modules and the consumers. ``step`` is for one thread; ``snapshot`` and commands for any."""

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self._stream = _section(config)
        self._gatherer = Gatherer(config, runtime, self._stream)
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._pool: BufferPool | None = None
        self._pool_of: ImageAssembler | None = None
        self._outputs: dict[str, ImageOutput] = {}
        self._gathered = 0
        self._pulse_id = self._frame_index = 0
        self._rates = Rates()
        self._rates_at = (time.monotonic(), 0, 0)

    def open(self) -> None:
        """Bind the streams, find the modules and take the memory for images. Raises HostError."""
        stream = self._stream
        self._context = context = zmq.Context()
        if stream.full:
            self._outputs["full"] = FullStream(context, stream.full, stream.high_water_mark)
        if stream.reduced:
            self._outputs["reduced"] = ReducedStream(
                context, stream.reduced, stream.high_water_mark, stream.reduced_rate_hz
            )
        if stream.pulse:
            self._outputs["pulse"] = PulseStream(context, stream.pulse, _PULSE_HWM)
        self._gatherer.open()
        self._follow_size()

    @property
    def addresses(self) -> str:
        """Where the streams are."""
        return " ".join(f"{name}={output.stats(0).folder}" for name, output in self._outputs.items())

    def step(self, timeout_s: float) -> None:
        """Take in what the modules have sent, waiting up to ``timeout_s`` for the first, and send what is in step."""
        for output in self._outputs.values():
            output.poll()
        for matched in self._gatherer.step(timeout_s):
            self._image(matched)
        self._measure(time.monotonic())

    def set_enabled(self, output: str, enabled: bool) -> None:  # noqa: FBT001
        """Switch one stream. Raises CommandError for one that the configuration does not have."""
        if output not in self._outputs:
            raise CommandError(f"output: found {output!r}, expected one of {', '.join(self._outputs) or 'none'}")
        self._outputs[output].enabled = enabled

    def set_reduced_rate(self, hz: float) -> None:
        """Change how many images a second the reduced stream carries. Raises CommandError."""
        reduced = self._outputs.get("reduced")
        if not isinstance(reduced, ReducedStream):
            raise CommandError("reduced_rate: the configuration has no reduced stream; give stream.reduced an address")
        if not 0 < hz < float("inf"):
            raise CommandError(f"reduced_rate: found {hz!r}, expected a number above 0")
        reduced.rate_hz = hz

    def snapshot(self) -> StreamStatus:
        """Return what there is to know, for screens and tests."""
        now, gatherer = time.monotonic(), self._gatherer
        state, message = gatherer.state()
        outputs = {name: output.stats(now) for name, output in self._outputs.items()}
        reduced = self._outputs.get("reduced")
        shape = gatherer.assembler.shape if gatherer.assembler else ()
        return StreamStatus(
            worker=WORKER,
            pid=os.getpid(),
            time_ns=time.time_ns(),
            version=software_version(),
            state=state,
            message=message,
            pulse_id=self._pulse_id,
            frame_index=self._frame_index,
            modules=len(gatherer.sources),
            shape=" x ".join(map(str, shape)),
            dtype=gatherer.layout.dtype if gatherer.layout else "",
            sync=gatherer.sync_stats(),
            images=gatherer.image_stats(self._gathered),
            rates=self._rates,
            full=outputs.get("full", OutputStats()),
            reduced=outputs.get("reduced", OutputStats()),
            reduced_pixels=reduced.with_pixels if isinstance(reduced, ReducedStream) else 0,
            pulse=outputs.get("pulse", OutputStats()),
            pool=self._pool.stats() if self._pool else PoolStats(),
        )

    def close(self) -> None:
        """Send what is queued, for half a second at most, and let go of everything."""
        for output in self._outputs.values():
            output.close()
        if self._context:
            self._context.term()
        self._gatherer.close()

    def _follow_size(self) -> None:
        """Take memory for images of the present size; those still waiting to be sent keep theirs."""
        assembler = self._gatherer.assembler
        if assembler is self._pool_of or assembler is None:
            return
        streams = sum(name in self._outputs for name in ("full", "reduced"))
        count = streams * self._stream.high_water_mark + _GATHERING
        self._pool = BufferPool(count, assembler.image_bytes, name="images") if streams else None
        self._pool_of = assembler

    def _image(self, matched: Matched) -> None:
        self._follow_size()
        now = time.monotonic()
        wanting = {name for name, output in self._outputs.items() if output.wants_pixels(now)}
        buffer = self._pool.try_acquire() if wanting and self._pool else None
        header = self._gatherer.assemble(matched, None if buffer is None else buffer.array)
        if header is None:
            if buffer is not None:
                buffer.release()
            return
        lease = None
        if buffer is not None:
            buffer.set_len(header.data_bytes)
            lease = buffer.freeze()
            self._gathered += 1
        for name, output in self._outputs.items():
            output.send(header, lease.clone() if lease is not None and name in wanting else None, now)
        if lease is not None:
            lease.close()
        self._pulse_id, self._frame_index = header.head.pulse_id, header.head.frame_index

    def _measure(self, now: float) -> None:
        since, images, gathered = self._rates_at
        if now - since < _RATE_PERIOD_S:
            return
        size = self._pool.capacity if self._pool else 0
        assembled = self._gatherer.assembled
        self._rates = Rates(
            frames_hz=(assembled - images) / (now - since),
            bytes_per_s=(self._gathered - gathered) * size / (now - since),
        )
        self._rates_at = (now, assembled, self._gathered)


def _section(config: Config) -> StreamSection:
    """Return the [stream] section. Raises ConfigError when it is missing or has no address."""
    stream = config.stream
    if stream is None:
        raise ConfigError("stream: missing; give a [stream] section with an address of full, reduced or pulse")
    if not (stream.full or stream.reduced or stream.pulse):
        raise ConfigError("stream: found no address, expected one of full, reduced, pulse")
    return stream
