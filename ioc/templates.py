"""Which templates a configuration loads, and with which macros.

Pure: the same configuration always gives the same records. The templates hold the records themselves.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from detectors import stats
from detectors.config import Config, ImagesSection, PvaSection, SourceSection, UdpSection
from detectors.errors import ConfigError
from detectors.worker_names import (
    HDF5,
    IMAGES,
    KEEPER,
    PARTS,
    PROCESS,
    STREAM,
    WEB,
    image_worker_name,
    keepers,
    part_workers,
    worker_name,
    workers,
)
from ioc import alarm_limits
from ioc.ad_names import CAMERA, HDF5_PLUGIN, IMAGE_PLUGIN, NO_ATTRIBUTES, PVA_PLUGIN, FixedName
from ioc.hosts import owner_of

TEMPLATES = Path(str(files("db")))
NAME_LIMIT = 60
"""Longest record name in EPICS, characters."""

DESC_NAME_LIMIT = 8
"""Characters of a source's name in the descriptions of its records, which EPICS limits to 40."""

_WAVEFORM_TYPES = {
    "int8": "CHAR",
    "uint8": "UCHAR",
    "int16": "SHORT",
    "uint16": "USHORT",
    "int32": "LONG",
    "uint32": "ULONG",
    "float32": "FLOAT",
}
"""EPICS's names of the types that a waveform can have; all others are DOUBLE."""

_RECORD = re.compile(r'^record\(\w+, "([^"]+)"\)', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Load:
    """One template with its macros."""

    file: str
    macros: Mapping[str, str]

    @property
    def path(self) -> Path:
        """Path of the template."""
        return TEMPLATES / self.file

    def names(self) -> list[str]:
        """Return the names of the records that it makes."""
        names = _RECORD.findall(self.path.read_text(encoding="utf-8"))
        return [re.sub(r"\$\((\w+)\)", lambda macro: self.macros[macro[1]], name) for name in names]


@dataclass(frozen=True, slots=True)
class Detector:
    """One detector with images of its own, as areaDetector's records show it."""

    sources: tuple[SourceSection, ...]
    name: str = ""
    """Empty when it is the only one of the server."""
    hdf5: str = ""
    """Its worker that writes files; empty: none."""
    images: str = ""
    """Its worker that shows images as PVs; empty: none."""
    retro: bool = False
    """Whether files can be made of what is on disk."""
    stream: str = ""
    """The worker that streams its images; empty: none."""

    @property
    def part(self) -> str:
        """What its record names begin with, behind the prefix of the server."""
        return f"{self.name}:" if self.name else ""

    @property
    def counters(self) -> tuple[str, ...]:
        """The workers that can count its images, the best first."""
        return tuple(worker for worker in (self.hdf5, self.images) if worker)

    @property
    def workers(self) -> tuple[str, ...]:
        """All its workers."""
        return (*map(worker_name, self.sources), *self.counters, *([self.stream] if self.stream else []))

    @property
    def suffix(self) -> str:
        """End of the names of its values and handlers, the macro D of its templates."""
        return f".{self.name}" if self.name else ""


def detectors(config: Config) -> list[Detector]:
    """Return the detectors of a configuration: all modules are one, each PVA source is one."""
    several = len(config.detectors) > 1
    return [
        Detector(
            sources,
            name if several else "",
            hdf5=image_worker_name(HDF5, name if several else "") if config.hdf5 else "",
            images=image_worker_name(IMAGES, name if several else "") if config.images else "",
            retro=config.disk is not None and config.hdf5 is not None,
            stream=STREAM if config.stream and (not several or sources is config.udp) else "",
        )
        for name, sources in config.detectors.items()
    ]


def image_streams(config: Config) -> list[str]:
    """Return the image streams with an address, ``full``, ``reduced``, ``pulse``, and the ``compressed`` images if there are any."""
    if config.stream is None:
        return []
    compressed = ["compressed"] if config.stream.compression != "none" else []
    return [name for name in ("full", "reduced", "pulse") if getattr(config.stream, name)] + compressed


PART_STREAMS: Final = ("full", "reduced")
"""The streams of a part."""

_WITHOUT_SOURCE: Final[Mapping[str, stats.WorkerStatus]] = {
    PARTS: stats.StreamStatus(),
    STREAM: stats.StreamStatus(),
    HDF5: stats.CaptureStatus(),
    IMAGES: stats.ImagesStatus(),
    WEB: stats.WebStatus(),
    PROCESS: stats.ProcessingStatus(),
    KEEPER: stats.KeeperStatus(),
}
"""Empty snapshots of the workers that have no source, by the first word of their names."""


def defaults(config: Config) -> dict[str, stats.WorkerStatus]:
    """Return the empty snapshot of every worker by name: the fields that its records can show."""
    return {worker: _default(worker, source) for worker, source in workers(config).items()}


def _default(worker: str, source: SourceSection | None) -> stats.WorkerStatus:
    if isinstance(source, PvaSection):
        return stats.MonitorStatus(pvs={str(number): stats.PvStatus() for number in _numbers(source)})
    if source is None:
        return _WITHOUT_SOURCE[worker.partition(".")[0]]
    return stats.ReceiverStatus()


def loads(config: Config) -> list[Load]:
    """Return the templates of a configuration, in order.

    Raises ConfigError when two records have one name, or a name is too long for EPICS.
    """
    prefix = {"P": config.detector.prefix, **alarm_limits.macros(config.alarms)}
    found = [Load("detector.template", prefix), Load("autosave.template", prefix), *_all_sources(config, prefix)]
    for source in (*config.udp, *config.pva):
        found += _source(config, source, prefix)
    for worker, host in part_workers(config).items():
        base = {**prefix, "R": f"{host}:Part:", "W": worker, "S": host[:DESC_NAME_LIMIT]}
        found += _image_streams(base, PART_STREAMS)
    if config.stream is not None:
        found += _stream(config, prefix)
    for detector in detectors(config):
        found += _detector(config, detector, prefix)
    if config.web is not None:
        base = _base(prefix, "Web", WEB)
        found += _loads(base, "pvi", "worker", "web")
    if config.process is not None:
        base = _base(prefix, "Process", PROCESS)
        found += [*_loads(base, "pvi", "worker", "rates", "process"), *_images(base, overwritten="MINOR")]
    for host in config.host:
        found += _loads(_base(prefix, host.name, owner_of(host)), "pvi", "host")
    for keeper, host in keepers(config).items():
        base = {**prefix, "R": f"{host}:Retention:", "W": keeper, "S": host[:DESC_NAME_LIMIT]}
        found += _loads(base, "pvi", "worker", "keeper")
    _check_names(found)
    return found


def _loads(base: Mapping[str, str], *names: str) -> list[Load]:
    """Return the templates of these names, all with the same macros."""
    return [Load(f"{name}.template", base) for name in names]


def _all_sources(config: Config, prefix: Mapping[str, str]) -> list[Load]:
    found = [Load("outputs.template", {**prefix, "O": "Zmq:", "F": "zmq"})]
    if config.disk is not None:
        found.append(Load("outputs.template", {**prefix, "O": "Disk:", "F": "disk"}))
        found += _loads(prefix, "folder", "retention")
    return found


def _source(config: Config, source: SourceSection, prefix: Mapping[str, str]) -> list[Load]:
    base = _base(prefix, source.name, worker_name(source))
    found = _loads(base, "pvi", "worker", "run_state", "rates", "dma")
    if isinstance(source, UdpSection):
        lost_major = alarm_limits.packets_lost_major(config.alarms, source.geometry.packets_per_frame)
        found.append(Load("module.template", {**base, "LOST_MAJOR": str(lost_major)}))
    found.append(Load("pool.template", {**base, "O": "Pebble:", "F": "pebble"}))
    if isinstance(source, PvaSection):
        found.append(Load("monitor.template", base))
        found += [Load("monitor_pv.template", {**base, "N": str(number)}) for number in _numbers(source)]
        found.append(Load("pool.template", {**base, "O": "Transition:", "F": "transition"}))
    if config.disk is not None:
        found.append(Load("output.template", {**base, "O": "Disk:", "F": "disk", "DROP_SEVERITY": "MAJOR"}))
        found.append(Load("disk.template", base))
    zmq = {**base, "O": "Zmq:", "F": "zmq"}
    found.append(Load("output.template", {**zmq, "DROP_SEVERITY": "MINOR"}))
    found.append(Load("zmq.template", zmq))
    return found


def _numbers(source: PvaSection) -> range:
    """Return the numbers of the PVs that have records of their own; those of a source show a single one."""
    return range(len(source.pv)) if len(source.pv) > 1 else range(0)


def _stream(config: Config, prefix: Mapping[str, str]) -> list[Load]:
    base = _base(prefix, "Stream", STREAM)
    found = _image_streams(base, image_streams(config))
    if "reduced" in image_streams(config):
        found.append(Load("reduced_rate.template", base))
    if part_workers(config):
        found.append(Load("joined.template", base))
    return found


def _image_streams(base: Mapping[str, str], outputs: Sequence[str]) -> list[Load]:
    """Return what every worker has that streams images, whole ones or parts."""
    found = [*_loads(base, "pvi", "worker", "rates", "stream"), *_images(base, overwritten="MINOR")]
    for output in outputs:
        macros = {**base, "O": f"{output.title()}:", "F": output}
        # The full stream is for a consumer that takes every image; the others may drop.
        found.append(Load("output.template", {**macros, "DROP_SEVERITY": "MAJOR" if output == "full" else "MINOR"}))
        found.append(Load("zmq.template", macros))
    found += [Load(f"{name}.template", base) for name in ("reduced", "compressed") if name in outputs]
    return found


def _detector(config: Config, detector: Detector, prefix: Mapping[str, str]) -> list[Load]:
    """Return areaDetector's records of one detector."""
    prefix = {**prefix, "D": detector.suffix}
    found = _camera(detector, prefix)
    if detector.name and isinstance(detector.sources[0], UdpSection):  # a camera's structure is its source's
        found.append(Load("pvi.template", _base(prefix, detector.name, "")))
    if detector.hdf5:
        found += _hdf5(detector, prefix)
    if detector.retro:
        found.append(Load("retro.template", {**prefix, "R": f"{detector.part}Retro:"}))
    if config.images and detector.images:
        found += _live_images(config.images, detector, prefix)
    return found


def _camera(detector: Detector, prefix: Mapping[str, str]) -> list[Load]:
    base = _part(prefix, detector, "cam1", f"cam1{detector.suffix}")
    attributes = _loads(base, "nd_attributes") if detector.hdf5 else _fixed(base, NO_ATTRIBUTES)
    return [*_loads(base, "pvi", "cam", "nd_pool"), *_fixed(base, CAMERA), *attributes]


def _hdf5(detector: Detector, prefix: Mapping[str, str]) -> list[Load]:
    base = _part(prefix, detector, "HDF1", detector.hdf5)
    return [
        *_loads(base, "pvi", "worker", "hdf5", "acquisition", "nd_attributes"),
        *_plugin(base),
        *_images(base, overwritten="MAJOR"),
        *_fixed(base, HDF5_PLUGIN),
    ]


def _live_images(section: ImagesSection, detector: Detector, prefix: Mapping[str, str]) -> list[Load]:
    pva, ca = (_part(prefix, detector, name, detector.images) for name in ("Pva1", "image1"))
    types = {"NELM": str(section.ca_pixels), "FTVL": _WAVEFORM_TYPES.get(_pixel_type(detector.sources[0]), "DOUBLE")}
    return [
        *_loads(pva, "pvi", "worker", "pva1", "acquisition"),
        *_loads(ca, "pvi"),
        Load("image1.template", {**ca, **types}),
        *_plugin(ca),
        *_plugin(pva),
        *_fixed(ca, IMAGE_PLUGIN),
        *_fixed(pva, PVA_PLUGIN),
    ]


def _plugin(base: Mapping[str, str]) -> list[Load]:
    """Return what every plugin shows of its detector."""
    return _loads(base, "nd_pool", "nd_dimensions")


def _part(prefix: Mapping[str, str], detector: Detector, name: str, worker: str) -> dict[str, str]:
    """Return the macros of one of a detector's parts."""
    return {**prefix, "R": f"{detector.part}{name}:", "W": worker, "S": name}


def _fixed(base: Mapping[str, str], names: Iterable[FixedName]) -> list[Load]:
    return [Load(file, {**base, **macros}) for name in names for file, macros in name.records_of(base["S"])]


def _pixel_type(source: SourceSection) -> str:
    """Return the numpy name of the pixel type of live images; empty when only the camera knows it."""
    return (
        source.geometry.layout.pixel_type.name if isinstance(source, UdpSection) else getattr(source, "dtype", "") or ""
    )


def _images(base: Mapping[str, str], overwritten: str) -> list[Load]:
    """Return what every worker of images has; ``overwritten`` is the severity of images lost to newer ones."""
    return [
        Load("images.template", {**base, "OVERWRITTEN_SEVERITY": overwritten}),
        Load("pool.template", {**base, "O": "Pool:", "F": "pool"}),
    ]


def _base(prefix: Mapping[str, str], name: str, worker: str) -> dict[str, str]:
    """Return the macros of a source."""
    return {**prefix, "R": f"{name}:", "W": worker, "S": name[:DESC_NAME_LIMIT]}


def _check_names(found: list[Load]) -> None:
    """Refuse what EPICS would join silently (two records of one name) or end the process on (a long name)."""
    problems: list[str] = []
    seen: set[str] = set()
    for load in found:
        for name in load.names():
            if name in seen:
                problems.append(
                    f"{load.file}: record {name} is made twice; give the source {load.macros.get('R', '')[:-1]!r} another name"
                )
            if len(name) > NAME_LIMIT:
                problems.append(
                    f"{load.file}: record {name} has {len(name)} characters, EPICS takes {NAME_LIMIT}; "
                    "shorten detector.prefix or the source's name"
                )
            seen.add(name)
    if problems:
        raise ConfigError(*problems)
