"""Images from modules, for every worker that wants some: find the modules, put them in step, assemble, count."""

import logging
import time
from collections.abc import Iterator
from typing import Final

import numpy as np

from detectors.assembly.images import ImageAssembler, ImageNames
from detectors.assembly.newest import NewestPulse
from detectors.assembly.sync import MAX_MODULES, Matched, Rules, Synchroniser
from detectors.config import Config, PvaSection, SourceSection, StreamSection, UdpSection, unreachable
from detectors.curve import own_keys
from detectors.errors import ConfigError
from detectors.frame import RecordShape
from detectors.outputs.outputs import remote_address
from detectors.pixels import FrameLayout
from detectors.pools.sizing import plan_buffers
from detectors.runtime import Runtime
from detectors.sources.module_stream import LocalModule, Modules, RemoteModule, SeenModules
from detectors.stats import ImageStats, SyncStats
from detectors.wire.array10 import ImageHeader
from detectors.worker_names import worker_name
from detectors.workers.runtime import IDLE_S
from detectors.workers.wake import Wake

log = logging.getLogger(__name__)

_INACTIVE_S: Final = 1.0
"""Without an image for this long the state is Idle, s."""

_MOST_ROUNDS: Final = 100
"""Rounds of messages taken in search of the newest image, at most: modules that never stop sending do not hold us."""

_TIMEOUTS_S: Final = 0.05
"""Longest wait while frames wait for other modules: those that are silent are noticed this often, s."""


class Gatherer:
    """The modules of one detector and the images in them. For one thread, but for the properties and the stats.

    Modules of ``host``, that of the worker, are read from shared memory, those of others by their streams. With ``look`` no module
    is subscribed to when all are on this host: each step looks into their memory, which costs them nothing. Raises ConfigError
    when the sources cannot be read, or are too many.
    """

    def __init__(
        self,
        config: Config,
        runtime: Runtime,
        sources: tuple[SourceSection, ...],
        rules: StreamSection,
        host: str | None,
        *,
        look: bool = False,
    ) -> None:
        _check(config, sources, host)
        self.sources = sources
        self._host = host
        self._config = config
        self._runtime = runtime
        self._rules = rules
        self._names = ImageNames(config.detector_of(self.sources[0]), rules.pedestal_file, rules.gain_file)
        self._mosaic = config.mosaic() if rules.layout == "geometry" else None
        self.layout = _configured_layout(self.sources[0])
        """What a frame is made of; None while it is not known of a camera."""
        self.assembler: ImageAssembler | None = None
        """Another one whenever the layout changes; None while it is not known."""
        self._plan = plan_buffers(config, self.sources[0]).pebble
        self._sync = Synchroniser(
            Rules(
                modules=len(self.sources),
                depth=self._plan.count,
                pulse_id_step=config.detector.pulse_id_step,
                offset_limit=rules.pulse_offset_limit,
                retry_limit=rules.sync_retry_limit,
                missing_after_s=rules.missing_after_s,
                fill=rules.missing_module == "fill",
            )
        )
        self._look = look
        self._newest = NewestPulse(len(self.sources), rules.missing_after_s)
        self._modules: Modules | SeenModules | None = None
        self._matched = self._assembled = self._overwritten = self._good = self._filled = 0
        self._last_image = self._last_frame = float("-inf")
        self.wait_s = 0.0
        """How long to wait for more after a step, s: see ``Part.step``."""
        self._losses_seen = 0
        self._loss_logged_at = float("-inf")

    @property
    def detector(self) -> str:
        """Name of the detector that the images are of."""
        return self._names.detector_name

    @property
    def modules(self) -> tuple[str, ...]:
        """Names of the modules, in the order of the image."""
        return tuple(self._config.module_of(source) for source in self.sources)

    @property
    def all_local(self) -> bool:
        """Whether all modules are on this host."""
        return all(source.host == self._host for source in self.sources)

    @property
    def assembled(self) -> int:
        """Images assembled so far."""
        return self._assembled

    def open(self, wake: Wake | None = None, *, from_now: bool = False) -> None:
        """Find the modules; ``wake``, if given, watches for their frames. Raises HostError.

        ``from_now``: frames that are there already are left out.
        """
        self._modules = self._find_modules()
        if from_now:
            self._modules.poll()
        self._newest.forget()
        if wake:
            for descriptor in self._modules.descriptors:
                wake.watch(descriptor)
        if self.layout:
            self._use(self.layout)

    def step(self, timeout_s: float = 0.0) -> Iterator[Matched]:
        """Yield the pulses that are in step, waiting up to ``timeout_s`` for the first frame of a module.

        Assemble each before the next is asked for: the frames do not wait.
        """
        assert self._modules
        arrived = self._modules.poll(timeout_s)
        now = time.monotonic()
        if arrived:
            self._last_frame = now
        for module, pulse_id in arrived:
            self._sync.push(module, pulse_id, now)
            yield from self._in_step(now)
        yield from self._in_step(now)  # without those that have been silent for too long
        self.wait_s = 0.0 if arrived else _TIMEOUTS_S if self._sync.queued else IDLE_S
        self._tell_losses(now)

    def newest(self) -> Matched | None:
        """Return the newest pulse, for those who need no other; None when nothing is new.

        The pulses before it are not counted as matched.
        """
        assert self._modules
        before, found = self._matched, None
        if isinstance(self._modules, SeenModules):
            self._follow_layout()
            found = self._newest.take(self._modules.finished(), time.monotonic())
        else:
            for _ in range(_MOST_ROUNDS):
                for found in self.step():  # noqa: B007  the last one counts
                    pass
                if self.wait_s:
                    break
        self._matched = before + (found is not None)
        return found

    def expect_all(self) -> None:
        """Wait for modules that counted as dead, too: a run begins, and they may be back."""
        self._sync.expect_all()

    def assemble(self, matched: Matched, out: np.ndarray | None) -> ImageHeader | None:
        """Gather one image; see ``ImageAssembler.assemble``. None is counted as overwritten."""
        header = self.assembler.assemble(matched, out) if self.assembler else None
        if header is None:
            self._overwritten += 1
            return None
        self._assembled += 1
        self._good += header.head.is_good_frame
        self._filled += matched.present.bit_count() < len(self.sources)
        self._last_image = time.monotonic()
        return header

    def state(self) -> tuple[str, str]:
        """Return state and message, as in ``StreamStatus``."""
        now, sync = time.monotonic(), self._sync
        if now - self._last_frame > _INACTIVE_S:
            problems = [reader.problem for reader in self._modules.readers] if self._modules else []
            return ("Idle" if self._matched else "Starting"), "; ".join(filter(None, problems))
        if not sync.in_step:
            return ("OutOfStep", sync.reason) if sync.losses else ("Starting", "waiting for all modules")
        if sync.missing:
            names = ", ".join(name for m, name in enumerate(self.modules) if sync.missing >> m & 1)
            return "Incomplete", f"no frames from {names}"
        return ("Assembling" if now - self._last_image < _INACTIVE_S else "Idle"), ""

    def sync_stats(self) -> SyncStats:
        """Return the fate of the frames."""
        sync, modules = self._sync, self._modules
        return SyncStats(
            received=sum(sync.received),
            matched=sum(sync.matched),
            skipped=sum(sync.skipped),
            queued=sync.queued,
            losses=sync.losses,
            malformed=modules.malformed if modules else 0,
            exhausted=modules.exhausted if modules else 0,
            missing_mask=sync.missing,
            missing=sync.missing.bit_count(),
            skipped_of=tuple(sync.skipped),
        )

    def image_stats(self, gathered: int) -> ImageStats:
        """Return the fate of the pulses; ``gathered`` of the images were assembled with pixels."""
        return ImageStats(
            matched=self._matched,
            assembled=self._assembled,
            overwritten=self._overwritten,
            good=self._good,
            filled=self._filled,
            gathered=gathered,
        )

    def close(self) -> None:
        """Let go of the modules."""
        if self._modules:
            self._modules.close()

    def _in_step(self, now: float) -> Iterator[Matched]:
        for matched in self._sync.poll(now):
            self._matched += 1
            self._follow_layout()
            yield matched

    def _find_modules(self) -> Modules | SeenModules:
        if self._look and self.all_local:
            return SeenModules([self._local(source) for source in self.sources])
        keys = self._config.zmq.curve_keys
        return Modules(
            [
                self._runtime.notify(worker_name(source))
                if source.host == self._host
                else remote_address(self._config, source)
                for source in self.sources
            ],
            [self._local(source) if source.host == self._host else self._remote(source) for source in self.sources],
            own_keys(keys) if keys else None,
        )

    def _local(self, source: SourceSection) -> LocalModule:
        # A camera may come back with other frames; the modules of a detector may not.
        data_bytes = self.layout.data_bytes if self.layout and isinstance(source, UdpSection) else None
        return LocalModule(self._runtime.shm(worker_name(source)), data_bytes)

    def _remote(self, source: SourceSection) -> RemoteModule:
        assert self.layout  # it was checked
        return RemoteModule(
            RecordShape(self.layout.data_bytes),
            self._plan.count,
            self._plan.size_bytes,
            self._config.detector.pulse_id_step,
            expected=source.geometry.packets_per_frame if isinstance(source, UdpSection) else 1,
            queue=self._config.zmq.high_water_mark,
        )

    def _use(self, layout: FrameLayout) -> None:
        assert self._modules
        self.layout = layout
        self.assembler = ImageAssembler(layout, self._modules.readers, self._names, self._mosaic)

    def _follow_layout(self) -> None:
        """Take over the frames of a camera that came back with another shape or type, as its pebble says."""
        assert self._modules
        module = self._modules.readers[0]
        if isinstance(self.sources[0], UdpSection) or not isinstance(module, LocalModule):
            return
        info = module.info()
        if info and "dtype" in info and "shape" in info:
            layout = FrameLayout(tuple(info["shape"]), info["dtype"])
            if layout != self.layout or self.assembler is None:
                self._use(layout)

    def _tell_losses(self, now: float) -> None:
        """Log losses of step, one line a second at most."""
        if self._sync.losses > self._losses_seen and now - self._loss_logged_at >= 1:
            log.warning("out of step: %s; started afresh (%d times so far)", self._sync.reason, self._sync.losses)
            self._losses_seen, self._loss_logged_at = self._sync.losses, now


def _check(config: Config, sources: tuple[SourceSection, ...], host: str | None) -> None:
    """Raise ConfigError with everything that keeps ``sources`` from making up images on a host."""
    found = list(unreachable("this consumer", host, sources, config.zmq))
    if len(sources) > MAX_MODULES:
        found.append(f"stream: found {len(sources)} modules, expected at most {MAX_MODULES}")
    if found:
        raise ConfigError(*found)


def _configured_layout(source: SourceSection) -> FrameLayout | None:
    """Return what the configuration says of a frame; None for a camera that is only known by its PV."""
    if isinstance(source, UdpSection):
        return source.geometry.layout
    if isinstance(source, PvaSection) and source.dtype and source.shape:
        return FrameLayout(source.shape, source.dtype)
    return None
