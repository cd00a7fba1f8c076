"""The modules of a detector as one worker reads them: those of its own host from shared memory, those of others by their streams."""

from detectors.assembly.images import ImageAssembler, ImageNames
from detectors.assembly.sync import MAX_MODULES, Rules
from detectors.config import Config, PvaSection, SourceSection, StreamSection, UdpSection, unreachable
from detectors.curve import own_keys
from detectors.errors import ConfigError
from detectors.frame import RecordShape
from detectors.mosaic import Mosaic
from detectors.outputs.outputs import remote_address
from detectors.pixels import FrameLayout
from detectors.pools.sizing import plan_buffers
from detectors.sources.module_stream import LocalModule, Modules, RemoteModule, SeenModules
from detectors.worker_names import worker_name


class DetectorModules:
    """What images are put together of: each member is one module. For one thread.

    Modules of ``host``, that of the worker, are read from shared memory, those of others by their streams. With ``look`` no module
    is subscribed to when all are on this host: each step looks into their memory, which costs them nothing. ``mosaic`` has
    their places, where images have gaps. Raises ConfigError when the sources cannot be read, or are too many.
    """

    def __init__(
        self,
        config: Config,
        sources: tuple[SourceSection, ...],
        rules: StreamSection,
        host: str | None,
        *,
        mosaic: Mosaic | None = None,
        look: bool = False,
    ) -> None:
        _check(config, sources, host)
        self._config, self._runtime = config, config.runtime_names
        self._sources, self._host = sources, host
        self._look = look
        self._image_names = ImageNames(config.detector_of(sources[0]), rules.pedestal_file, rules.gain_file)
        self._mosaic = mosaic
        self._plan = plan_buffers(config, sources[0]).pebble
        self._readers: list[LocalModule | RemoteModule] = []
        self.names = tuple(config.module_of(source) for source in sources)
        """Names of the modules, in the order of the image."""
        self.rules = Rules(
            modules=len(sources),
            depth=self._plan.count,
            pulse_id_step=config.detector.pulse_id_step,
            offset_limit=rules.pulse_offset_limit,
            retry_limit=rules.sync_retry_limit,
            missing_after_s=rules.missing_after_s,
            fill=rules.missing_module == "fill",
        )
        """How they are put in step."""
        self.layout = _configured_layout(sources[0])
        """What a frame is made of; None while it is not known of a camera."""
        self.assembler: ImageAssembler | None = None
        """Another one whenever the layout changes; None while it is not known."""
        self.lost = 0
        """It is not known of modules."""

    @property
    def detector(self) -> str:
        """Name of the detector that the images are of."""
        return self._image_names.detector_name

    @property
    def all_local(self) -> bool:
        """Whether all modules are on this host."""
        return all(source.host == self._host for source in self._sources)

    def open(self) -> Modules | SeenModules:
        """Find the modules. Raises HostError."""
        self._readers = [
            self._local(source) if self._is_local(source) else self._remote(source) for source in self._sources
        ]
        if self.layout:
            self._use(self.layout)
        if self._look and self.all_local:
            return SeenModules([reader for reader in self._readers if isinstance(reader, LocalModule)])
        keys = self._config.zmq.curve_keys
        return Modules(
            [
                self._runtime.notify(worker_name(source))
                if self._is_local(source)
                else remote_address(self._config, source)
                for source in self._sources
            ],
            self._readers,
            own_keys(keys) if keys else None,
        )

    def follow(self) -> None:
        """Take over the frames of a camera that came back with another shape or type, as its pebble says."""
        module = self._readers[0]
        if isinstance(self._sources[0], UdpSection) or not isinstance(module, LocalModule):
            return
        info = module.info()
        if info and "dtype" in info and "shape" in info:
            layout = FrameLayout(tuple(info["shape"]), info["dtype"])
            if layout != self.layout or self.assembler is None:
                self._use(layout)

    def missing_of(self, dead: int) -> int:
        """Return the mask of the modules that are missing: the dead members themselves."""
        return dead

    def _is_local(self, source: SourceSection) -> bool:
        return source.host == self._host

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
        self.layout = layout
        self.assembler = ImageAssembler(layout, self._readers, self._image_names, self._mosaic)


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
