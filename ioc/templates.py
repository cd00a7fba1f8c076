"""Which templates a configuration loads, and with which macros.

Pure: the same configuration always gives the same records. The templates hold the records themselves.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from detectors.config import Config, PvaSection, SourceSection, UdpSection
from detectors.errors import ConfigError
from detectors.outputs.outputs import worker_name
from detectors.stats import (
    CaptureStatus,
    ImagesStatus,
    MonitorStatus,
    PvStatus,
    ReceiverStatus,
    StreamStatus,
    WorkerStatus,
)
from ioc.ad_names import CAMERA, HDF5_PLUGIN, IMAGE_PLUGIN, NO_ATTRIBUTES, PVA_PLUGIN, FixedName

TEMPLATES = Path(str(files("db")))
NAME_LIMIT = 60
"""Longest record name in EPICS, characters."""

DESC_NAME_LIMIT = 8
"""Characters of a source's name in the descriptions of its records, which EPICS limits to 40."""

STREAM = "stream"
"""Name of the worker that assembles live images."""

HDF5 = "hdf5"
"""Name of the worker that writes live images to files."""

IMAGES = "images"
"""Name of the worker that shows live images as PVs."""

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


def workers(config: Config) -> dict[str, SourceSection | None]:
    """Return every worker of a configuration by name, with its source; workers of images have none."""
    found: dict[str, SourceSection | None] = {worker_name(source): source for source in (*config.udp, *config.pva)}
    if config.stream is not None:
        found[STREAM] = None
    if config.hdf5 is not None:
        found[HDF5] = None
    if config.images is not None:
        found[IMAGES] = None
    return found


def has_camera(config: Config) -> bool:
    """Return whether all images are of one detector, which has ``cam1:``: modules make up one, a PVA source is one."""
    return bool(config.udp) or len(config.pva) == 1


def has_retro(config: Config) -> bool:
    """Return whether files can be made of what is on disk: there is a buffer of one detector, and a folder for files."""
    return config.disk is not None and config.hdf5 is not None and has_camera(config)


def image_streams(config: Config) -> list[str]:
    """Return the image streams with an address: ``full``, ``reduced``, ``pulse``."""
    return [] if config.stream is None else [n for n in ("full", "reduced", "pulse") if getattr(config.stream, n)]


def defaults(config: Config) -> dict[str, WorkerStatus]:
    """Return the empty snapshot of every worker by name: the fields that its records can show."""
    return {worker: _default(worker, source) for worker, source in workers(config).items()}


def _default(worker: str, source: SourceSection | None) -> WorkerStatus:
    if isinstance(source, PvaSection):
        return MonitorStatus(pvs={str(number): PvStatus() for number in _numbers(source)})
    if source is None:
        return {STREAM: StreamStatus(), HDF5: CaptureStatus(), IMAGES: ImagesStatus()}[worker]
    return ReceiverStatus()


def loads(config: Config) -> list[Load]:
    """Return the templates of a configuration, in order.

    Raises ConfigError when two records have one name, or a name is too long for EPICS.
    """
    prefix = {"P": config.detector.prefix}
    found = [Load("detector.template", prefix), *_all_sources(config, prefix)]
    for source in (*config.udp, *config.pva):
        found += _source(config, source, prefix)
    if has_camera(config):
        found += _camera(config, prefix)
    if config.stream is not None:
        found += _stream(config, prefix)
    if config.hdf5 is not None:
        found += _hdf5(prefix)
        if has_retro(config):
            found.append(Load("retro.template", prefix))
    if config.images is not None:
        found += _live_images(config, prefix)
    _check_names(found)
    return found


def _all_sources(config: Config, prefix: Mapping[str, str]) -> list[Load]:
    found = [Load("outputs.template", {**prefix, "O": "Zmq:", "F": "zmq"})]
    if config.disk is not None:
        found.append(Load("outputs.template", {**prefix, "O": "Disk:", "F": "disk"}))
        found += [Load("folder.template", prefix), Load("retention.template", prefix)]
    return found


def _source(config: Config, source: SourceSection, prefix: Mapping[str, str]) -> list[Load]:
    base = _base(prefix, source.name, worker_name(source))
    found = [Load(f"{name}.template", base) for name in ("pvi", "worker", "run_state", "rates", "dma")]
    if isinstance(source, UdpSection):
        found.append(Load("module.template", {**base, "FRAME_PACKETS": str(source.geometry.packets_per_frame)}))
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
    found = [Load(f"{name}.template", base) for name in ("pvi", "worker", "rates", "stream")]
    found += _images(base, overwritten="MINOR")
    for output in image_streams(config):
        macros = {**base, "O": f"{output.title()}:", "F": output}
        # The full stream is for a consumer that takes every image; the others may drop.
        found.append(Load("output.template", {**macros, "DROP_SEVERITY": "MAJOR" if output == "full" else "MINOR"}))
        found.append(Load("zmq.template", macros))
    if "reduced" in image_streams(config):
        found.append(Load("reduced.template", base))
    return found


def _hdf5(prefix: Mapping[str, str]) -> list[Load]:
    base = _base(prefix, "HDF1", HDF5)
    return [
        *(Load(f"{name}.template", base) for name in ("pvi", "worker", "hdf5", "acquisition")),
        Load("nd_attributes.template", {**base, "S": "HDF1"}),
        *_images(base, overwritten="MAJOR"),
        *_fixed(prefix, "HDF1", HDF5_PLUGIN),
    ]


def _camera(config: Config, prefix: Mapping[str, str]) -> list[Load]:
    base = {**prefix, "R": "cam1:", "S": "cam1", "W": "cam1"}
    found = [Load("pvi.template", base), Load("cam.template", base), *_fixed(prefix, "cam1", CAMERA)]
    if config.hdf5:
        return [*found, Load("nd_attributes.template", base)]
    return [*found, *_fixed(prefix, "cam1", NO_ATTRIBUTES)]


def _fixed(prefix: Mapping[str, str], part: str, names: Iterable[FixedName]) -> list[Load]:
    return [Load(file, {**prefix, **macros}) for name in names for file, macros in name.records_of(part)]


def _live_images(config: Config, prefix: Mapping[str, str]) -> list[Load]:
    assert config.images
    pva, ca = _base(prefix, "Pva1", IMAGES), _base(prefix, "image1", IMAGES)
    array = {**ca, "NELM": str(config.images.ca_pixels), "FTVL": _WAVEFORM_TYPES.get(_pixel_type(config), "DOUBLE")}
    return [
        *(Load(f"{name}.template", pva) for name in ("pvi", "worker", "pva1", "acquisition")),
        Load("pvi.template", ca),
        Load("image1.template", array),
        *_fixed(prefix, "image1", IMAGE_PLUGIN),
        *_fixed(prefix, "Pva1", PVA_PLUGIN),
    ]


def _pixel_type(config: Config) -> str:
    """Return the numpy name of the pixel type of live images; empty when only the camera knows it."""
    if config.udp:
        return config.udp[0].geometry.layout.pixel_type.name
    return config.pva[0].dtype or ""


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
