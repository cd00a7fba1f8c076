"""The images of [stream], as a worker reads them that shows them: the one member is the reduced stream of whole images."""

from typing import Final

from detectors.assembly.images import ImageNames
from detectors.assembly.joined import JoinedAssembler
from detectors.assembly.sync import Rules
from detectors.config import Config, SourceSection, StreamSection
from detectors.curve import own_keys
from detectors.parts import PartPlace
from detectors.pixels import FrameLayout
from detectors.sources.module_stream import Modules
from detectors.sources.reduced_images import ReducedImages
from detectors.workers.detector_modules import DetectorModules
from detectors.workers.gather import Members

_QUEUE: Final = 100
"""Messages that may wait, of which few have pixels: they are taken in every 20 ms."""

_HEADS: Final = 1000
"""Heads that are kept, of 500 bytes."""

_EVERYWHERE: Final = ("*", "0.0.0.0")  # noqa: S104


class StreamedImages:
    """The reduced stream. With ``pixels_only``, images that have none are left out. For one thread."""

    def __init__(self, config: Config, stream: StreamSection, host: str | None, *, pixels_only: bool) -> None:
        self._address, self._keys = _address(config, stream, host), config.zmq.curve_keys
        self.names = tuple(module.name for module in config.udp)
        """Names of the modules, in the order of the image."""
        self.rules = Rules(modules=1, depth=_HEADS, pulse_id_step=config.detector.pulse_id_step)
        """Nothing is put in step."""
        self.lost = 0
        """It is not known."""
        geometry, mosaic = config.udp[0].geometry, config.mosaic_of(config.udp)
        shape = mosaic.shape if mosaic else geometry.layout.image_shape(len(config.udp))
        self._images = ReducedImages(
            PartPlace(tuple(range(len(config.udp))), len(config.udp)),
            FrameLayout(shape, geometry.layout.pixel_type.name),
            heads=_HEADS,
            queue=1,
            messages=_QUEUE,
            whole=True,
            pixels_only=pixels_only,
        )
        names = ImageNames(config.detector.name, stream.pedestal_file, stream.gain_file)
        self.assembler = JoinedAssembler(
            geometry.layout, [self._images], names, packets=geometry.packets_per_frame, mosaic=mosaic
        )

    def open(self) -> Modules:
        """Subscribe. Raises HostError."""
        self._images.problem = f"no image from {self._address}: the worker stream does not run, or has none"
        return Modules([self._address], [self._images], own_keys(self._keys) if self._keys else None)

    def follow(self) -> None:
        """Do nothing: the modules of a detector stay as they are."""

    def missing_of(self, dead: int) -> int:
        """Return the mask of the modules that the newest image lacks."""
        every = (1 << len(self.names)) - 1
        return every if dead else every & ~(self._images.newest.present or every)


def members_to_show(
    config: Config,
    sources: tuple[SourceSection, ...],
    host: str | None,
    *,
    pixels_only: bool = False,
) -> Members:
    """Return what a worker on a host makes the images of that it shows: the modules, or where some are elsewhere the stream.

    Raises ConfigError when they cannot be read.
    """
    if config.stream and config.is_streamed(sources, host):
        return StreamedImages(config, config.stream, host, pixels_only=pixels_only)
    rules, mosaic = config.image_rules(sources), config.mosaic_of(sources)
    return DetectorModules(config, sources, rules, host, mosaic=mosaic, look=True)


def _address(config: Config, stream: StreamSection, host: str | None) -> str:
    """Return where a worker on a host finds the reduced stream."""
    bound, _, port = stream.reduced.removeprefix("tcp://").rpartition(":")
    if not stream.reduced.startswith("tcp://") or bound not in _EVERYWHERE:
        return stream.reduced
    there = config.host_of(stream)
    return f"tcp://{'127.0.0.1' if stream.host == host else there.at if there else config.zmq.host}:{port}"
