"""The simulators that stand in for the sources of a configuration: one command each. Pure."""

import itertools
import math
from dataclasses import dataclass, fields
from typing import Final

from detectors.config import Config, PvaSection, UdpSection
from detectors.errors import ConfigError
from detectors.geometry import GEOMETRIES, ModuleGeometry
from detectors.sources.pvspec import STRING_DTYPE, PvSpec, parse_pv_spec

DEFAULT_SHAPE: Final = (512, 512)
DEFAULT_DTYPE: Final = "uint16"
"""Of images whose configuration leaves shape or type open."""

_CA_ARRAY: Final = "image1:ArrayData"
_PACKET_COST: Final = 16_600
"""Socket buffer that one queued packet takes, bytes; the kernel grants twice what it names."""
_BURST: Final = 32


@dataclass(frozen=True, slots=True)
class Clock:
    """What all sources share: event n is pulse ``start + n * step``."""

    rate_hz: float
    start: int
    step: int
    every: int = 1
    """Cameras and timing take every so many of the modules' pulses."""
    frames: int | None = None
    seconds: float | None = None

    def options(self, *, slow: bool = False) -> list[str]:
        """Return the options of a simulator; ``slow`` for cameras and timing."""
        every = self.every if slow else 1
        found = [
            "--rate",
            f"{self.rate_hz / every:.9g}",
            "--start",
            f"{self.start}",
            "--step",
            f"{self.step * every}",
        ]
        if self.frames is not None:
            found += ["--frames", f"{math.ceil(self.frames / every)}"]
        return found if self.seconds is None else [*found, "--seconds", f"{self.seconds:g}"]


@dataclass(frozen=True, slots=True)
class Simulator:
    """``pebbledaq sim`` with ``arguments`` stands in for the source ``name``."""

    name: str
    what: str
    """What it sends, and where to."""
    arguments: list[str]


def simulators(
    config: Config, clock: Clock, *, only: frozenset[str] = frozenset(), receive_buffer: int, faults: list[str]
) -> list[Simulator]:
    """Return a simulator for each source that the configuration enables, or for those named in ``only``, and for the timing.

    ``receive_buffer`` is what the kernel grants a module's socket, bytes; ``faults`` are options of the modules' simulators.
    Raises ConfigError for a source that a simulator cannot stand in for.
    """
    sources = (*config.udp, *config.pva)
    unknown = sorted(only - {source.name for source in sources})
    if unknown:
        raise ConfigError(
            f"--only: found {', '.join(unknown)}, expected one of {', '.join(source.name for source in sources)}"
        )
    chosen = [source for source in sources if (source.name in only if only else source.enabled)]
    found: list[Simulator] = []
    for source in chosen:
        if isinstance(source, UdpSection):
            found.append(_module(config, source, clock, receive_buffer, faults))
        else:
            found += _camera(source, clock)
    if config.timing and any(isinstance(source, PvaSection) for source in chosen):
        address = f"{_reachable(config.timing.address)}:{config.timing.port}"
        found.append(Simulator("timing", address, ["timing", address, *clock.options(slow=True)]))
    return found


def _module(config: Config, source: UdpSection, clock: Clock, receive_buffer: int, faults: list[str]) -> Simulator:
    number, at = config.index_of(source), config.host_of(source)
    host = _reachable(source.address, at.at if at else "127.0.0.1")
    if source.source.partition(":")[0] not in ("", host):
        raise ConfigError(
            f"{source.name}: takes packets from {source.source} alone, and simulated ones come from this host; leave "
            "source out of a configuration for simulators"
        )
    module_id = number if source.expect_module_id is None else source.expect_module_id
    options = ["--geometry", geometry_text(source.geometry), "--module-id", f"{module_id}", "--number", f"{number}"]
    options += ["--row", f"{source.row or 0}", "--column", f"{source.column or 0}"]
    options += ["--first-frame", f"{max(1, clock.start // clock.step)}"]  # a detector that goes on counts on
    if source.pulse_source != "bunchid":
        options.append("--no-bunchid")
    packets = 2 * receive_buffer // _PACKET_COST
    options += ["--burst", f"{max(1, min(_BURST, packets // 4))}", *faults]
    address = f"{host}:{source.port}"
    return Simulator(source.name, address, ["udp", address, *clock.options(), *options])


def _camera(source: PvaSection, clock: Clock) -> list[Simulator]:
    specs = [parse_pv_spec(text, source.name) for text in source.pv]
    names = [source.name if len(specs) == 1 else f"{source.name}.{spec.alias}" for spec in specs]
    return [_pv(name, spec, source, clock, i) for i, (name, spec) in enumerate(zip(names, specs, strict=True))]


def _pv(name: str, spec: PvSpec, source: PvaSection, clock: Clock, number: int) -> Simulator:
    shape = (source.shape if spec.shape is None else spec.shape) or DEFAULT_SHAPE
    dtype = spec.dtype or source.dtype or DEFAULT_DTYPE
    if dtype == STRING_DTYPE or spec.shape == () or spec.field != "value":
        raise ConfigError(f"{name}: {spec.name} is no array that a simulator could send; leave it out with --only")
    options = [*clock.options(slow=True), "--shape", "x".join(map(str, shape)), "--dtype", dtype]
    options += ["--module-id", f"{number}"]
    if spec.provider == "pva":
        return Simulator(name, spec.pv, ["pva", spec.pv, *options])
    prefix, array = spec.pv.removesuffix(_CA_ARRAY), _CA_ARRAY
    if prefix == spec.pv:
        prefix, colon, array = spec.pv.rpartition(":")
        prefix += colon
    # On all interfaces, as a camera's IOC: clients search by broadcast, which does not reach the loopback.
    options += ["--interface", "0.0.0.0"]  # noqa: S104
    return Simulator(name, spec.pv, ["ca", prefix, "--array", array, *options])


def _reachable(address: str, host: str = "127.0.0.1") -> str:
    """Return where to send what is received on ``address`` of a host."""
    return host if address in ("", "0.0.0.0") else address  # noqa: S104


def geometry_text(geometry: ModuleGeometry) -> str:
    """Return a geometry's name, or, for one of a facility's own, the table that it is in the configuration."""
    if GEOMETRIES.get(geometry.name) == geometry:
        return geometry.name
    values = ((f.name, getattr(geometry, f.name)) for f in itertools.islice(fields(geometry), 1, None))
    return "{" + ", ".join(f'{k} = "{v}"' if isinstance(v, str) else f"{k} = {v}" for k, v in values) + "}"
