"""The parts of an image: what each host has of it, where that lies in the whole, and at which ports it is streamed. Pure."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from detectors.config import Config, HostSection
from detectors.errors import ConfigError
from detectors.pixels import FrameLayout

_PART_PORTS: Final = 2
"""Ports of a part: its full stream, and its reduced one."""


@dataclass(frozen=True, slots=True)
class PartPlace:
    """Where a part lies in the whole image."""

    modules: tuple[int, ...]
    """Numbers of its modules in the whole image, in the order in which the part has them."""
    of_modules: int
    """Modules of the whole image."""
    row: int = 0
    """Row of the whole image that its first row is; of modules that lie one below the other 0, as ``column``."""
    column: int = 0


class ImagePart(NamedTuple):
    """What one host has of every image."""

    host: HostSection
    place: PartPlace
    layout: FrameLayout
    """Of its images."""
    port: int
    """Of its full stream; that of its reduced one is the next."""

    @property
    def bound(self) -> dict[str, str]:
        """The addresses that its streams are bound to: ``full``, ``reduced``."""
        return {name: f"tcp://{self.host.bind}:{self.port + n}" for n, name in enumerate(("full", "reduced"))}

    @property
    def reduced(self) -> str:
        """Address at which other hosts find its reduced stream."""
        return f"tcp://{self.host.at}:{self.port + 1}"


def part_names(config: Config) -> list[str]:
    """Return the names of the hosts that have a part, in the order of the file."""
    if config.stream is None or not config.stream.parts:
        return []
    return [host.name for host in config.host if any(module.host == host.name for module in config.udp)]


def parts(config: Config) -> list[ImagePart]:
    """Return the parts that images are joined of, in the order of the hosts; none without ``stream.parts``."""
    names = part_names(config)
    if not names or config.stream is None or config.stream.part_port_base is None:
        return []
    mosaic, frame = config.mosaic_of(config.udp), config.udp[0].geometry.layout
    found: list[ImagePart] = []
    for index, host in enumerate(config.host):
        if host.name not in names:
            continue
        modules = tuple(m for m, module in enumerate(config.udp) if module.host == host.name)
        row, column = mosaic.corner(modules) if mosaic else (0, 0)
        place = PartPlace(modules, len(config.udp), row, column)
        shape = mosaic.part(modules).shape if mosaic else frame.image_shape(len(modules))
        layout = FrameLayout(shape, frame.pixel_type.name)
        found.append(ImagePart(host, place, layout, config.stream.part_port_base + _PART_PORTS * index))
    return found


def part_of(config: Config, host: str) -> ImagePart:
    """Return the part of a host. Raises ConfigError when there is none of that name."""
    known = parts(config)
    for part in known:
        if part.host.name == host:
            return part
    if not known:
        raise ConfigError("stream.parts: missing; parts are streamed with parts = true in [stream]")
    raise ConfigError(f"HOST: found {host!r}, expected one of {', '.join(part.host.name for part in known)}")


def is_joined(pulse_id: int, pulse_id_step: int, every: int) -> bool:
    """Return whether the image of a pulse is joined: all hosts choose the same, one of ``every``."""
    return pulse_id // pulse_id_step % every == 0
