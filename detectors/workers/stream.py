"""The assembler of live images: modules in, three image streams out. One thread, no call of which waits for a consumer."""

import logging
import os
import time
from importlib import metadata
from typing import Final

import zmq

from detectors.assembly.images import FrameLayout, ImageAssembler, ImageNames
from detectors.assembly.sync import MAX_MODULES, Matched, Rules, Synchroniser
from detectors.config import Config, PvaSection, SourceSection, StreamSection, UdpSection
from detectors.errors import CommandError, ConfigError
from detectors.frame import RecordShape
from detectors.outputs.outputs import worker_name
from detectors.outputs.zmq_image import FullStream, ImageOutput, PulseStream, ReducedStream
from detectors.pools.buffer_pool import BufferPool
from detectors.pools.sizing import plan_buffers
from detectors.runtime import Runtime
from detectors.sources.module_stream import LocalModules, ModuleStream, RemoteModules
from detectors.stats import ImageStats, OutputStats, PoolStats, Rates, StreamStatus, SyncStats
from detectors.workers.control import Control

log = logging.getLogger(__name__)

WORKER: Final = "stream"

_TICK_S: Final = 0.05
"""Longest wait for frames: dead modules are noticed, and the stop flag is looked at, this often, s."""

_IDLE_S: Final = 1.0
"""Without an image for this long the state is Idle, s."""

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
        self._config = config
        self._runtime = runtime
        self._stream, self._sources = _check(config)
        self._names = ImageNames(
            config.detector_of(self._sources[0]), self._stream.pedestal_file, self._stream.gain_file
        )
        self._layout = _configured_layout(self._sources[0])
        self._depth = plan_buffers(config, self._sources[0]).pebble.count
        self._sync = Synchroniser(
            Rules(
                modules=len(self._sources),
                depth=self._depth,
                pulse_id_step=config.detector.pulse_id_step,
                offset_limit=self._stream.pulse_offset_limit,
                retry_limit=self._stream.sync_retry_limit,
                missing_after_s=self._stream.missing_after_s,
                fill=self._stream.missing_module == "fill",
            )
        )
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._modules: ModuleStream | None = None
        self._assembler: ImageAssembler | None = None
        self._pool: BufferPool | None = None
        self._outputs: dict[str, ImageOutput] = {}
        self._matched = self._assembled = self._overwritten = self._good = self._filled = self._gathered = 0
        self._pulse_id = self._frame_index = 0
        self._last_image = self._last_frame = float("-inf")
        self._losses_seen = 0
        self._loss_logged_at = float("-inf")
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
        self._modules = self._find_modules()
        if self._layout:
            self._use(self._layout)

    @property
    def addresses(self) -> str:
        """Where the streams are."""
        return " ".join(f"{name}={output.stats(0).folder}" for name, output in self._outputs.items())

    def step(self, timeout_s: float) -> None:
        """Take in what the modules have sent, waiting up to ``timeout_s`` for the first, and send what is in step."""
        assert self._modules
        arrived = self._modules.poll(timeout_s)
        now = time.monotonic()
        for output in self._outputs.values():
            output.poll()
        if arrived:
            self._last_frame = now
        for module, pulse_id in arrived:
            self._sync.push(module, pulse_id, now)
            for matched in self._sync.poll(now):
                self._image(matched)
        for matched in self._sync.poll(now):
            self._image(matched)
        self._tell_losses(now)
        self._measure(now)

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
        now = time.monotonic()
        state, message = self._state(now)
        outputs = {name: output.stats(now) for name, output in self._outputs.items()}
        reduced = self._outputs.get("reduced")
        shape = self._assembler.shape if self._assembler else ()
        return StreamStatus(
            worker=WORKER,
            pid=os.getpid(),
            time_ns=time.time_ns(),
            version=metadata.version("pebbledaq"),
            state=state,
            message=message,
            pulse_id=self._pulse_id,
            frame_index=self._frame_index,
            modules=len(self._sources),
            shape=" x ".join(map(str, shape)),
            dtype=self._layout.dtype if self._layout else "",
            sync=self._sync_stats(),
            images=ImageStats(
                matched=self._matched,
                assembled=self._assembled,
                overwritten=self._overwritten,
                good=self._good,
                filled=self._filled,
                gathered=self._gathered,
            ),
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
        if self._modules:
            self._modules.close()

    def _find_modules(self) -> ModuleStream:
        config, first = self._config, self._sources[0]
        if not self._stream.remote:
            workers = [worker_name(source) for source in self._sources]
            return LocalModules(
                [self._runtime.notify(w) for w in workers],
                [self._runtime.shm(w) for w in workers],
                self._layout.data_bytes if self._layout else None,
            )
        assert self._layout
        plan = plan_buffers(config, first)
        return RemoteModules(
            self._stream.remote,
            RecordShape(self._layout.data_bytes),
            count=plan.pebble.count,
            slot_bytes=plan.pebble.size_bytes,
            pulse_id_step=config.detector.pulse_id_step,
            expected=first.geometry.packets_per_frame if isinstance(first, UdpSection) else 1,
            high_water_mark=config.zmq.high_water_mark,
            info={"dtype": self._layout.dtype, "shape": self._layout.shape},
        )

    def _use(self, layout: FrameLayout) -> None:
        """Assemble frames of ``layout`` from now on; images of another one that still wait to be sent keep their memory."""
        assert self._modules
        self._layout = layout
        self._assembler = ImageAssembler(layout, self._modules.readers, self._names)
        streams = sum(name in self._outputs for name in ("full", "reduced"))
        count = streams * self._stream.high_water_mark + _GATHERING
        self._pool = BufferPool(count, self._assembler.image_bytes, name="images") if streams else None

    def _image(self, matched: Matched) -> None:
        self._matched += 1
        if not isinstance(self._sources[0], UdpSection) and not self._stream.remote:
            self._follow_layout()
        now = time.monotonic()
        wanting = {name for name, output in self._outputs.items() if output.wants_pixels(now)}
        buffer = self._pool.try_acquire() if wanting and self._pool else None
        header = (
            self._assembler.assemble(matched, None if buffer is None else buffer.array) if self._assembler else None
        )
        if header is None:
            self._overwritten += 1
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
        self._assembled += 1
        self._good += header.is_good_frame
        self._filled += matched.present.bit_count() < len(self._sources)
        self._pulse_id, self._frame_index = header.pulse_id, header.frame
        self._last_image = now

    def _follow_layout(self) -> None:
        """Take over the frames of a camera that came back with another shape or type: its pebble tells."""
        assert self._modules
        info = self._modules.info()
        if info and "dtype" in info and "shape" in info:
            layout = FrameLayout(tuple(info["shape"]), info["dtype"])
            if layout != self._layout or self._assembler is None:
                self._use(layout)

    def _state(self, now: float) -> tuple[str, str]:
        sync = self._sync
        if now - self._last_frame > _IDLE_S:
            problems = [reader.problem for reader in self._modules.readers] if self._modules else []
            return ("Idle" if self._assembled else "Starting"), "; ".join(filter(None, problems))
        if not sync.in_step:
            return ("OutOfStep", sync.reason) if sync.losses else ("Starting", "waiting for all modules")
        if sync.missing:
            names = ", ".join(s.name for m, s in enumerate(self._sources) if sync.missing >> m & 1)
            return "Incomplete", f"no frames from {names}"
        return ("Assembling" if now - self._last_image < _IDLE_S else "Idle"), ""

    def _sync_stats(self) -> SyncStats:
        sync = self._sync
        return SyncStats(
            received=sum(sync.received),
            matched=sum(sync.matched),
            skipped=sum(sync.skipped),
            queued=sync.queued,
            losses=sync.losses,
            malformed=self._modules.malformed if self._modules else 0,
            exhausted=self._modules.exhausted if self._modules else 0,
            missing_mask=sync.missing,
            missing=sync.missing.bit_count(),
            skipped_of=tuple(sync.skipped),
        )

    def _tell_losses(self, now: float) -> None:
        """Log losses of step, one line a second at most."""
        if self._sync.losses > self._losses_seen and now - self._loss_logged_at >= 1:
            log.warning("out of step: %s; started afresh (%d times so far)", self._sync.reason, self._sync.losses)
            self._losses_seen, self._loss_logged_at = self._sync.losses, now

    def _measure(self, now: float) -> None:
        since, images, gathered = self._rates_at
        if now - since < _RATE_PERIOD_S:
            return
        size = self._assembler.image_bytes if self._assembler else 0
        self._rates = Rates(
            frames_hz=(self._assembled - images) / (now - since),
            bytes_per_s=(self._gathered - gathered) * size / (now - since),
        )
        self._rates_at = (now, self._assembled, self._gathered)


def _check(config: Config) -> tuple[StreamSection, tuple[SourceSection, ...]]:
    """Return the section and the modules of the image. Raises ConfigError with every mistake."""
    stream = config.stream
    if stream is None:
        raise ConfigError("stream: missing; give a [stream] section with an address of full, reduced or pulse")
    sources: tuple[SourceSection, ...] = config.udp or config.pva
    found: list[str] = []
    if not (stream.full or stream.reduced or stream.pulse):
        found.append("stream: found no address, expected one of full, reduced, pulse")
    if not config.udp and len(config.pva) > 1:
        found.append(f"stream: found {len(config.pva)} [[pva]] sources, expected one, or the modules of a detector")
    if len(sources) > MAX_MODULES:
        found.append(f"stream: found {len(sources)} modules, expected at most {MAX_MODULES}")
    if stream.remote and len(stream.remote) != len(sources):
        found.append(
            f"stream.remote: found {len(stream.remote)} addresses, expected {len(sources)}: one for each module, in order"
        )
    if stream.remote and _configured_layout(sources[0]) is None:
        found.append("stream.remote: a remote camera's frames are not known; give its pva.dtype and pva.shape")
    if found:
        raise ConfigError(*found)
    return stream, sources


def _configured_layout(source: SourceSection) -> FrameLayout | None:
    """Return what the configuration says of a frame; None for a camera that is only known by its PV."""
    if isinstance(source, UdpSection):
        return FrameLayout(source.geometry.shape, source.geometry.dtype)
    if isinstance(source, PvaSection) and source.dtype and source.shape:
        return FrameLayout(source.shape, source.dtype)
    return None
