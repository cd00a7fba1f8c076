"""The assembler of live images: modules or parts in, three image streams out. One thread, no call of which waits for a consumer."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Final, TypeAlias

import zmq

from detectors.assembly.sync import Matched
from detectors.config import Config, StreamSection
from detectors.errors import CommandError, ConfigError
from detectors.image_head import ImageHead
from detectors.outputs.compressed_images import CompressedFullStream, CompressedImages
from detectors.outputs.zmq_image import FullStream, ImageOutput, PartStream, PulseStream, ReducedStream
from detectors.pools.buffer_pool import BufferPool
from detectors.stats import OutputStats, PoolStats, StreamStatus
from detectors.wire.array10 import ImageHeader
from detectors.wire.compressed_image import COMPRESSION
from detectors.worker_names import STREAM
from detectors.workers.account import Account
from detectors.workers.detector_modules import DetectorModules
from detectors.workers.gather import Assembler, Gatherer
from detectors.workers.part_streams import PartStreams
from detectors.workers.rates import RateMeter
from detectors.workers.runtime import IDLE_S, run_worker
from detectors.workers.wake import Wake

_Context: TypeAlias = zmq.Context[zmq.Socket[bytes]]

_PULSE_HWM: Final = 1000
"""Pulse ids queued for one subscriber: 8 bytes each."""

_LOOK_S: Final = 0.005
"""Time between two looks for messages of parts, s."""

_GATHER_S: Final = 0.008
"""How long frames gather before they are taken, s: those of one pulse come one after the other, and of fast modules several
pulses are taken at once. The time that the images before them took counts: who is behind does not rest."""

_REST_S: Final = 2.0
"""After the last consumer has gone the parts are subscribed to for so long, s: one that connects again wants them at once."""

_GATHERING: Final = 1
"""Image buffers beyond those that the streams may hold: the one that is being filled."""


def run(config: Config) -> int:
    """Assemble and stream images until it is to stop. Returns the exit code.

    Raises ConfigError without a [stream] that fits the sources, HostError when an address or the memory is refused.
    """
    section = _section(config)
    joined = PartStreams(config, section) if section.parts else None
    sources = config.udp or config.sources_of("")
    members = joined or DetectorModules(config, sources, section, section.host, mosaic=config.mosaic_of(sources))
    streams = partial(_streams, config, section)
    part = Streamer(STREAM, Gatherer(members), streams, section.high_water_mark, joined=joined)
    return run_worker(part, config)


class Streamer:
    """The part of a worker that streams live images.

    ``streams`` makes its outputs, of which each may hold ``queue`` images. ``label`` completes a header. With ``joined``, what is
    gathered: it is subscribed to while there is a consumer, and only some of its images have pixels.
    """

    blocks: Mapping[str, Sequence[str]] = {}
    empty = StreamStatus()

    def __init__(
        self,
        name: str,
        gatherer: Gatherer,
        streams: Callable[[_Context], Iterator[ImageOutput]],
        queue: int,
        *,
        label: Callable[[ImageHeader], ImageHeader] = lambda header: header,
        joined: PartStreams | None = None,
    ) -> None:
        self.name = name
        self._gatherer, self._streams, self._queue = gatherer, streams, queue
        self._label, self._joined = label, joined
        self._wanted_s = float("-inf")
        self._pool: BufferPool | None = None
        self._pool_of: Assembler | None = None
        self._outputs: dict[str, ImageOutput] = {}
        self._compressed: CompressedImages | None = None
        self._wake: Wake | None = None
        """To rest on while frames gather; None: messages of parts have their own pace."""
        self._rest_s = 0.0
        self._gathered = 0
        self._latest = ImageHead(0)
        self._rates = RateMeter()

    @property
    def commands(self) -> Mapping[str, Callable[..., Any]]:
        """Switches of the streams, and the rate of the reduced one."""
        return {"output": self._set_enabled, "reduced_rate": self._set_reduced_rate}

    def open(self, stack: ExitStack, wake: Wake, account: Account) -> str:  # noqa: ARG002
        """Bind the streams, find the modules and take the memory for images. Raises HostError."""
        stack.callback(self._gatherer.close)
        context: _Context = zmq.Context()
        stack.callback(context.term)
        for output in self._streams(context):
            self._outputs[output.name] = output
            if isinstance(output, CompressedImages):
                self._compressed, output.ring = output, wake.ring
            stack.callback(output.close)
        if self._joined is None:
            self._gatherer.open(wake)
            self._wake = wake
        self._follow_size()
        return " ".join(f"{name}={output.stats(0).folder}" for name, output in self._outputs.items())

    def step(self) -> float:
        """Take in what the modules have sent, and send what is in step."""
        if self._wake and self._rest_s > 0 and not self._wake.in_vain:
            self._wake.rest(self._rest_s)
        begun = time.monotonic()
        for output in self._outputs.values():
            output.poll()
        if self._joined and not self._follow_demand(time.monotonic()):
            return IDLE_S
        for matched in self._gatherer.step():
            self._image(matched)
        self._rest_s = _GATHER_S - (time.monotonic() - begun)
        # The descriptors of parts are not watched: their messages are taken several at a time.
        return min(self._gatherer.wait_s, _LOOK_S) if self._joined else self._gatherer.wait_s

    def _follow_demand(self, now: float) -> bool:
        """Subscribe to the parts, or leave them; return whether they are wanted. Raises HostError."""
        if any(output.has_consumers for output in self._outputs.values()):
            self._wanted_s = now
        wanted = now - self._wanted_s < _REST_S
        if wanted and not self._gatherer.is_open:
            self._gatherer.open()
        elif not wanted:
            self._gatherer.close()
        return wanted

    def _set_enabled(self, output: str, enabled: bool) -> None:  # noqa: FBT001
        """Switch one stream. Raises CommandError for one that the configuration does not have."""
        if output not in self._outputs:
            raise CommandError(f"output: found {output!r}, expected one of {', '.join(self._outputs) or 'none'}")
        self._outputs[output].enabled = enabled

    def _set_reduced_rate(self, hz: float) -> None:
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
        state, message = gatherer.state() if gatherer.is_open else ("Idle", "")
        outputs = {name: output.stats(now) for name, output in self._outputs.items()}
        reduced = self._outputs.get("reduced")
        shape = gatherer.assembler.shape if gatherer.assembler else ()
        return StreamStatus(
            state=state,
            message=message,
            pulse_id=self._latest.pulse_id,
            data_ns=self._latest.timestamp_ns,
            frame_index=self._latest.frame_index,
            modules=len(gatherer.modules),
            shape=" x ".join(map(str, shape)),
            dtype=gatherer.assembler.pixel_type.name if gatherer.assembler else "",
            sync=gatherer.sync_stats(),
            images=gatherer.image_stats(self._gathered),
            rates=self._rates.add(
                now, gatherer.assembled, 0, self._gathered * (self._pool.capacity if self._pool else 0)
            ),
            full=outputs.get("full", OutputStats()),
            compressed=outputs.get("compressed", OutputStats()),
            compressed_pixel_bytes=self._compressed.pixel_bytes if self._compressed else 0,
            compression_ratio=self._compressed.ratio if self._compressed else 0.0,
            reduced=outputs.get("reduced", OutputStats()),
            reduced_pixels=reduced.with_pixels if isinstance(reduced, ReducedStream | PartStream) else 0,
            pulse=outputs.get("pulse", OutputStats()),
            pool=self._pool.stats() if self._pool else PoolStats(),
        )

    def finish(self, deadline_s: float) -> None:
        """Compress what was taken; what is queued is sent, or given up, when the streams are closed."""
        if self._compressed:
            self._compressed.finish(deadline_s)

    def _follow_size(self) -> None:
        """Take memory for images of the present size; those still waiting to be sent keep theirs."""
        assembler = self._gatherer.assembler
        if assembler is self._pool_of or assembler is None:
            return
        streams = sum(name in self._outputs for name in ("full", "reduced"))
        count = streams * self._queue + _GATHERING
        self._pool = BufferPool(count, assembler.image_bytes, name="images") if streams else None
        self._pool_of = assembler
        if self._compressed:
            self._compressed.follow(assembler.shape, assembler.pixel_type)

    def _image(self, matched: Matched) -> None:
        self._follow_size()
        now, pulse_id = time.monotonic(), matched.pulse_id
        has_pixels = self._joined is None or self._joined.has_pixels(pulse_id)
        wanting = {name for name, output in self._outputs.items() if has_pixels and output.wants_pixels(pulse_id, now)}
        buffer = self._pool.try_acquire() if wanting and self._pool else None
        header = self._gatherer.assemble(matched, None if buffer is None else buffer.array)
        if header is None:
            if buffer is not None:
                buffer.release()
            return
        header, lease = self._label(header), None
        if buffer is not None:
            buffer.set_len(buffer.capacity)
            lease = buffer.freeze()
            self._gathered += 1
        for name, output in self._outputs.items():
            if output.needs_pixels and not has_pixels:
                output.leave_out()
            else:
                output.send(header, lease.clone() if lease is not None and name in wanting else None, now)
        if lease is not None:
            lease.close()
        self._latest = header.head


def _streams(config: Config, stream: StreamSection, context: _Context) -> Iterator[ImageOutput]:
    """Yield the streams of whole images that the configuration names. Raises HostError."""
    queue, keys = stream.high_water_mark, config.zmq.curve_keys
    if stream.full and stream.compression == COMPRESSION:
        full = CompressedFullStream(context, stream.full, queue, curve_keys=keys)
        address, segment = config.runtime_names.notify(STREAM), config.runtime_names.shm(STREAM)
        threads, step = stream.compression_threads, config.detector.pulse_id_step
        yield CompressedImages(context, address, segment, queue, full, threads=threads, pulse_id_step=step)
        yield full
    elif stream.full:
        yield FullStream(context, stream.full, queue, curve_keys=keys)
    if stream.reduced:
        yield ReducedStream(context, stream.reduced, queue, stream.reduced_rate_hz, curve_keys=keys)
    if stream.pulse:
        yield PulseStream(context, stream.pulse, _PULSE_HWM, curve_keys=keys)


def _section(config: Config) -> StreamSection:
    """Return the [stream] section. Raises ConfigError when it is missing or has no address."""
    stream = config.stream
    if stream is None:
        raise ConfigError("stream: missing; give a [stream] section with an address of full, reduced or pulse")
    if not (stream.full or stream.reduced or stream.pulse):
        raise ConfigError("stream: found no address, expected one of full, reduced, pulse")
    return stream
