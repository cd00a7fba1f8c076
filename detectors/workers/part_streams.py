"""The parts of a detector's images, as the stream that joins them reads them: each member is the part of one host."""

from detectors.assembly.images import ImageNames
from detectors.assembly.joined import JoinedAssembler
from detectors.assembly.sync import Rules
from detectors.config import Config, StreamSection
from detectors.curve import own_keys
from detectors.parts import is_joined, parts
from detectors.pools.sizing import plan_buffers
from detectors.sources.module_stream import Modules
from detectors.sources.reduced_images import ReducedImages


class PartStreams:
    """The reduced streams of all parts. For one thread."""

    def __init__(self, config: Config, rules: StreamSection) -> None:
        self._parts, self._keys = parts(config), config.zmq.curve_keys
        self._step, self._every = config.detector.pulse_id_step, rules.join_every
        self.names = tuple(module.name for module in config.udp)
        """Names of the modules, in the order of the image."""
        geometry = config.udp[0].geometry
        depth = plan_buffers(config, config.udp[0]).pebble.count
        self._images = [
            ReducedImages(
                part.place,
                part.layout,
                heads=depth,
                queue=rules.high_water_mark,
                messages=rules.high_water_mark * rules.join_every,
            )
            for part in self._parts
        ]
        """In the order of the parts."""
        self.rules = Rules(
            modules=len(self._parts),
            depth=depth,
            pulse_id_step=config.detector.pulse_id_step,
            offset_limit=rules.pulse_offset_limit,
            retry_limit=rules.sync_retry_limit,
            # A part waits for its modules first.
            missing_after_s=2 * rules.missing_after_s,
            fill=rules.missing_module == "fill",
        )
        names = ImageNames(config.detector_of(config.udp[0]), rules.pedestal_file, rules.gain_file)
        self.assembler = JoinedAssembler(
            geometry.layout,
            self._images,
            names,
            packets=geometry.packets_per_frame,
            mosaic=config.mosaic_of(config.udp),
        )

    @property
    def lost(self) -> int:
        """Images of parts that did not come."""
        return sum(images.lost for images in self._images)

    def open(self) -> Modules:
        """Subscribe. Raises HostError."""
        return Modules(
            [part.reduced for part in self._parts], self._images, own_keys(self._keys) if self._keys else None
        )

    def follow(self) -> None:
        """Do nothing: the modules of a detector stay as they are."""

    def has_pixels(self, pulse_id: int) -> bool:
        """Return whether the parts of a pulse come with pixels."""
        return is_joined(pulse_id, self._step, self._every)

    def missing_of(self, dead: int) -> int:
        """Return the mask of the modules that are missing: all of a dead part, and those that the newest image of a part lacks."""
        missing = 0
        for p, images in enumerate(self._images):
            own = sum(1 << m for m in images.place.modules)
            present = images.newest.present or own
            missing |= own if dead >> p & 1 else own & ~present
        return missing
