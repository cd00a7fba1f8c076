"""The whole configuration, and reading it from a file. Every mistake is one line with its place."""

import tomllib
from collections.abc import Hashable, Iterable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ValidationError, model_validator

from detectors.config import hosts, sections
from detectors.errors import ConfigError
from detectors.mosaic import Mosaic
from detectors.runtime_names import RuntimeNames


class Config(sections.Section):
    """One detector server."""

    detector: sections.DetectorSection
    run: sections.RunSection = sections.RunSection()
    ioc: sections.IocSection = sections.IocSection()
    log: sections.LogSection = sections.LogSection()
    alarms: sections.AlarmsSection = sections.AlarmsSection()
    host: tuple[hosts.HostSection, ...] = ()
    control: hosts.ControlSection | None = None
    timing: sections.TimingSection | None = None
    dma: sections.DmaSection = sections.DmaSection()
    pools: sections.PoolsSection = sections.PoolsSection()
    udp: tuple[sections.UdpSection, ...] = ()
    pva: tuple[sections.PvaSection, ...] = ()
    disk: sections.DiskSection | None = None
    zmq: sections.ZmqSection = sections.ZmqSection()
    stream: sections.StreamSection | None = None
    hdf5: sections.Hdf5Section | None = None
    images: sections.ImagesSection | None = None
    web: sections.WebSection | None = None
    process: sections.ProcessSection | None = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if found := list(self._disagreements()):
            raise ValueError("\n".join(found))
        return self

    def _disagreements(self) -> Iterator[str]:
        """Yield what does not agree between sections, one line each that starts with its place."""
        udp, pva, timing = self.udp, self.pva, self.timing
        names = [source.name for source in (*udp, *pva)]
        places = [*(f"udp[{i}]" for i in range(len(udp))), *(f"pva[{i}]" for i in range(len(pva)))]
        if not names:
            yield "udp, pva: found no source, expected at least one [[udp]] or [[pva]] table"
        # Whatever their case: names that differ in nothing else are too easily confused.
        for i, first in _repeated(name.upper() for name in names):
            yield f"{places[i]}.name: {names[i]!r} is also the name of {places[first]}; give each source its own"
        for i, camera in enumerate(pva):
            if udp and camera.name.upper() == self.detector.name.upper():
                yield f"pva[{i}].name: {camera.name!r} is also the name of the detector that the modules make up; give it another"
        for i, first in _repeated((module.host, module.port) for module in udp):
            yield f"udp[{i}].port: {udp[i].port} is also the port of udp[{first}]; give each its own"
        for i, first in _repeated(_origin(i, module) for i, module in enumerate(udp)):
            yield (
                f"udp[{i}].expect_module_id: {udp[i].expect_module_id} is also that of udp[{first}], and row and column do "
                "not tell them apart; give each its own, or leave it out"
            )
        for i, module in enumerate(udp):
            one, other = module.geometry, udp[0].geometry
            if one.layout != other.layout:
                yield f"udp[{i}].geometry: differs from udp[0].geometry, but the modules of one detector are alike"
                return
        if self.process:
            try:
                self.sources_of(self.process.detector)
            except ConfigError as error:
                yield f"process.{error}"
        yield from self._misplaced()
        yield from self._misplaced_on_hosts(places)
        if timing is None:
            return
        ports = [module.port for module in udp]
        if timing.port in ports:
            yield f"timing.port: {timing.port} is also the port of udp[{ports.index(timing.port)}]; give each its own"
        if len(pva) > 1 and not _is_multicast(timing.address):
            yield (
                f"timing.address: found {timing.address}, expected a multicast group: each datagram to a plain address "
                f"reaches one of the {len(pva)} [[pva]] sources only; give one, such as 239.255.50.1"
            )

    def _misplaced_on_hosts(self, places: Iterable[str]) -> Iterator[str]:
        """Yield what is wrong with the hosts of sources and outputs."""
        outputs = {name: getattr(self, name) for name in ("stream", "hdf5", "images", "web", "process")}
        consumers: list[tuple[str, sections.PlacedSection]] = [
            (name, found) for name, found in outputs.items() if found
        ]
        placed = [*zip(places, self.sources, strict=True), *consumers]
        yield from hosts.disagreements(self.host, self.control, placed, [source.name for source in self.sources])
        if self.stream and self.stream.parts:
            yield from hosts.unfit_for_parts(self.host, self.udp, self.stream)
        for name, consumer in consumers:
            read = self.sources
            if self.stream and consumer is self.stream:
                read = () if self.stream.parts else self.udp or self.pva
            elif isinstance(consumer, sections.ProcessSection):
                read = self.detectors.get(consumer.detector, read)
            elif consumer in (self.images, self.web):
                streamed = [sources for sources in self.detectors.values() if self.is_streamed(sources, consumer.host)]
                read = tuple(source for source in self.sources if not any(source in found for found in streamed))
                if streamed:
                    yield from hosts.without_images(name, consumer.host, self.stream)
            yield from hosts.unreachable(name, consumer.host, read, self.zmq)

    def _misplaced(self) -> Iterator[str]:
        """Yield what is wrong with the places of the modules."""
        lacking = [i for i, module in enumerate(self.udp) if module.place is None]
        asked = self.stream is not None and self.stream.layout == "geometry"
        if asked and not self.udp:
            yield 'stream.layout: found "geometry", but only [[udp]] modules have a place; remove it'
        elif lacking and (asked or len(lacking) < len(self.udp)):
            yield from (f"udp[{i}].place: missing; give the row and the column of each module" for i in lacking)
        else:
            try:
                self.mosaic()
            except ConfigError as error:
                yield from map(str, error.args)

    def mosaic(self) -> Mosaic | None:
        """Return where the modules lie in images with gaps; None when the configuration does not say it."""
        places = [module.placed for module in self.udp if module.placed]
        if not places or len(places) < len(self.udp):
            return None
        return Mosaic(self.udp[0].geometry.layout, places, self.stream.gap_value if self.stream else 0)

    @property
    def runtime_names(self) -> RuntimeNames:
        """The names of what its processes leave in the system."""
        return RuntimeNames(self.detector.prefix)

    @property
    def sources(self) -> tuple[sections.SourceSection, ...]:
        """All sources, modules first: the order that ports and workers are numbered in."""
        return (*self.udp, *self.pva)

    def host_of(self, section: sections.PlacedSection) -> hosts.HostSection | None:
        """Return the host of a source or an output; None: that of the IOC."""
        return next((host for host in self.host if host.name == section.host), None)

    def disk_folder(self, source: sections.SourceSection) -> Path | None:
        """Return the root folder of a source on its host; None without [disk]."""
        if self.disk is None:
            return None
        host = self.host_of(source)
        return host.folder if host and host.folder else self.disk.folder

    def disk_roots(self, source: sections.SourceSection) -> tuple[Path, ...]:
        """Return the folders that clients may move a source below, on its host: the roots of [disk], and its host's own folder."""
        if self.disk is None:
            return ()
        host = self.host_of(source)
        own = (host.folder,) if host and host.folder else ()
        return (*own, *self.disk.roots) or (self.disk.folder,)

    def sources_on(self, host: str | None) -> tuple[sections.SourceSection, ...]:
        """Return the sources of a host; None: of that of the IOC."""
        return tuple(source for source in self.sources if source.host == host)

    def mosaic_of(self, sources: tuple[sections.SourceSection, ...]) -> Mosaic | None:
        """Return where the modules lie in images of these sources; None when these have no gaps."""
        return self.mosaic() if self.image_rules(sources).layout == "geometry" else None

    def is_streamed(self, sources: tuple[sections.SourceSection, ...], host: str | None) -> bool:
        """Return whether a worker on a host takes images of these sources from [stream]: of several modules, some elsewhere."""
        return len(sources) > 1 and any(source.host != host for source in sources)

    def is_compressed(self, sources: tuple[sections.SourceSection, ...], host: str | None) -> bool:
        """Return whether images of these sources are compressed on a host, by its worker of [stream]."""
        stream = self.stream
        if stream is None or stream.compression == "none" or stream.host != host:
            return False
        return sources == (self.udp or self.pva)

    def dma_of(self, source: sections.SourceSection) -> sections.DmaSection:
        """Return the DMA ring of a source: its own, or the common one."""
        return source.dma or self.dma

    def pools_of(self, source: sections.SourceSection) -> sections.PoolsSection:
        """Return the pools of a source: its own, or the common ones."""
        return source.pools or self.pools

    def detector_of(self, source: sections.SourceSection) -> str:
        """Return the detector that a source belongs to: modules make up the detector, a PVA source is one of its own."""
        return self.detector.name if isinstance(source, sections.UdpSection) else f"{self.detector.name}-{source.name}"

    @property
    def detectors(self) -> dict[str, tuple[sections.SourceSection, ...]]:
        """The sources of each detector that has images of its own, by name: all modules are one, each PVA source is one."""
        modules: dict[str, tuple[sections.SourceSection, ...]] = {self.detector.name: self.udp} if self.udp else {}
        return modules | {source.name: (source,) for source in self.pva}

    def sources_of(self, detector: str) -> tuple[sections.SourceSection, ...]:
        """Return the sources of a detector; of the only one without a name.

        Raises ConfigError when there is none of that name, or several and no name.
        """
        known = self.detectors
        if len(known) == 1 and not detector:
            return next(iter(known.values()))
        if detector not in known:
            found = repr(detector) if detector else "no name"
            raise ConfigError(f"detector: found {found}, expected one of: {', '.join(known)}")
        return known[detector]

    def image_rules(self, sources: tuple[sections.SourceSection, ...]) -> sections.StreamSection:
        """Return how images are put together of these sources; what [stream] says of modules is not for a camera beside them."""
        rules = self.stream or sections.StreamSection()
        if self.udp and sources is not self.udp:
            return rules.model_copy(update={"layout": "stack", "parts": False})
        return rules

    def module_of(self, source: sections.SourceSection) -> str:
        """Return the module folder of a source: a PVA detector has the single module M00."""
        return source.name if isinstance(source, sections.UdpSection) else "M00"

    def index_of(self, source: sections.SourceSection) -> int:
        """Return the number of a source's module in its detector, which its frames carry: its place among the modules."""
        return self.udp.index(source) if isinstance(source, sections.UdpSection) else 0

    def source(self, kind: Literal["udp", "pva"], name: str | None) -> Any:
        """Return a source by name; without a name the only one.

        Raises ConfigError when there is none of that name, or several and no name.
        """
        table = self.udp if kind == "udp" else self.pva
        found = [entry for entry in table if name in {None, entry.name}]
        if len(found) == 1:
            return found[0]
        names = ", ".join(s.name for s in table) or "none"
        raise ConfigError(f"[[{kind}]]: found {'no name' if name is None else repr(name)}, expected one of: {names}")


def _origin(index: int, module: sections.UdpSection) -> Hashable:
    """Return what is expected of the packets of a module; the index of one that takes any."""
    return index if module.expect_module_id is None else (module.expect_module_id, module.row, module.column)


def _repeated(values: Iterable[Hashable]) -> Iterator[tuple[int, int]]:
    """Yield the index of each value that came before, and the index where it came first."""
    seen: dict[Hashable, int] = {}
    for i, value in enumerate(values):
        first = seen.setdefault(value, i)
        if first != i:
            yield i, first


def _is_multicast(address: str) -> bool:
    try:
        return IPv4Address(address).is_multicast
    except ValueError:
        return False


def parse_config(text: str, origin: str = "config") -> Config:
    """Return the configuration in TOML text. ``origin`` starts each line of an error.

    Raises ConfigError with every mistake, one line each.
    """
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{origin}: not TOML: {error}") from None
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        lines = [line for problem in error.errors() for line in _lines(problem)]
        raise ConfigError(*(f"{origin}: {line}" for line in lines)) from None


def load_config(path: Path | str) -> Config:
    """Return the configuration in a file. Raises ConfigError with every mistake, one line each."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read: {reason}; give the path of a TOML file") from None
    return parse_config(text, str(path))


def _lines(problem: Any) -> list[str]:
    """Return the lines for one pydantic problem: place, what was found, what was expected."""
    place = ""
    for part in problem["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return [f"{place}: {line}" if place else line for line in message.splitlines()]
    if problem["type"] == "missing":
        return [f"{place}: missing; it is required"]
    if problem["type"] == "extra_forbidden":
        return [f"{place}: unknown key; remove it or correct its spelling"]
    return [f"{place}: found {problem['input']!r}, {message[0].lower()}{message[1:]}"]
