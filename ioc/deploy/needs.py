"""What a configuration needs of a host, each with the reason. Pure."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from detectors.config import Config, PvaSection, SourceSection, UdpSection
from detectors.hosts import host_of
from detectors.pixels import FrameLayout
from detectors.pools.sizing import PROCESS_BYTES, size_text
from detectors.worker_names import PROCESS, keepers, worker_name, workers
from detectors.workers.tuning import LOWEST_REALTIME
from ioc.plan import plan_source_by_source

OPEN_FILES: Final = 65_536
"""Data files, sockets of clients and of workers: far more than there will be."""

WATCHDOG_S: Final = 60
"""A process whose main thread said nothing for so long hangs, s; a Configure that makes large buffers takes seconds."""

START_S: Final = 180
"""Longest start, s: each worker touches all its memory first, so that no page is missing when data comes."""

_STOP_MARGIN_S: Final = 10
_PROCESS_BYTES: Final = 4 * PROCESS_BYTES
"""A worker's process beside its buffers, with room: one that grows above what it asked for is killed."""
_SMALL_SHM: Final = 64 << 20
"""Shared memory for all but the pebbles, bytes: the newest images for viewers, say."""


def workers_on(config: Config, host: str = "") -> dict[str, SourceSection | None]:
    """Return the workers of a host, by its name, or of the IOC's, each with its source."""
    at = {worker: found.name if (found := host_of(config, worker)) else "" for worker in workers(config)}
    return {worker: source for worker, source in workers(config).items() if at[worker] == host}


@dataclass(frozen=True, slots=True)
class Needs:
    """The figures of one configuration on one host."""

    prefix: str
    detector: str
    receive_buffer: int
    """Largest DMA ring that a worker asks the kernel for, bytes."""
    receive_buffer_why: str
    shm_bytes: int
    """Shared memory of the pebbles whose size is known, and some for the rest."""
    shm_why: str
    realtime: int
    """Highest real-time priority of a receiver; 0: none is wanted."""
    stop_s: int
    """After so long, what has not ended is killed, s."""
    folders: tuple[Path, ...]
    """Folders that data is written to."""
    keys: tuple[Path, ...]
    """Folders of CURVE keys, which workers and the IOC read."""
    cpus: bool
    """Whether a worker is kept to processors by their numbers."""
    memory_bytes: int | None
    """Memory of all workers, /dev/shm included; None when it is not known of all: not of workers of images, nor of an unknown payload."""

    @classmethod
    def of(cls, config: Config, host: str = "") -> Self:
        """Return what a configuration needs on a host, by name, or on the IOC's. Raises ConfigError when buffers cannot be made."""
        here = workers_on(config, host)
        sources = [source for source in here.values() if source is not None]
        plans = {
            name: plan for name, plan in plan_source_by_source(config).items() if name in {s.name for s in sources}
        }
        rings = {s.name: config.dma_of(s) for s in sources if config.timing or s in config.udp}
        largest = max(rings, key=lambda name: rings[name].cfg_rx_count * int(rings[name].cfg_size), default="")
        ring = rings.get(largest)
        pebbles = {name: plan.pebble.total_bytes or 0 for name, plan in plans.items()}
        priorities = [source.tuning.realtime_priority for source in sources]
        disks = [folder for source in sources if (folder := config.disk_folder(source))]
        files = [config.hdf5] if config.hdf5 and (config.hdf5.host or "") == host else []
        roots = [
            *(config.disk.roots if config.disk and not host else ()),
            *(r for section in files for r in section.roots),
        ]
        folders = (*disks, *(section.folder for section in files), *roots)
        keys = [section.curve_keys for section in (config.control, config.zmq) if section and section.curve_keys]
        planned = {*map(worker_name, sources), *(here.keys() & keepers(config).keys())}
        shared = {**pebbles, **({PROCESS: _images_for_function(config)} if PROCESS in here else {})}
        unknown = [name for name, nbytes in shared.items() if not nbytes]
        why = " + ".join(f"{name} {size_text(nbytes)}" for name, nbytes in shared.items() if nbytes)
        return cls(
            prefix=config.detector.prefix,
            detector=config.detector.name,
            receive_buffer=ring.cfg_rx_count * int(ring.cfg_size) if ring else 0,
            receive_buffer_why=f"{largest} asks for cfgRxCount {ring.cfg_rx_count} x cfgSize {size_text(int(ring.cfg_size))}"
            if ring
            else "",
            shm_bytes=sum(shared.values()) + _SMALL_SHM,
            shm_why=why + (f"; of {', '.join(unknown)} the PV says it: add theirs" if unknown else ""),
            realtime=max((LOWEST_REALTIME if wanted is None else wanted for wanted in priorities), default=0),
            stop_s=round(config.run.drain_s) + _STOP_MARGIN_S,
            folders=tuple(dict.fromkeys(folders)),
            keys=tuple(dict.fromkeys(keys)),
            cpus=any(source.tuning.cpus for source in sources),
            memory_bytes=None
            if unknown or len(here) > len(planned)
            else sum(plan.memory_bytes for plan in plans.values()) + _PROCESS_BYTES * len(here),
        )

    @property
    def slug(self) -> str:
        """The prefix as a part of file names."""
        return re.sub(r"[^A-Za-z0-9]+", "-", self.prefix).strip("-")

    def sysctl(self) -> str:
        """Return a file for ``/etc/sysctl.d``."""
        return f"""\
# For pebbledaq {self.prefix.rstrip(":")}: {self.receive_buffer_why}.
# The kernel grants no larger socket buffer than this, and packets that find no room in theirs are lost.
# Of several such files the last by name wins: keep the largest value.
net.core.rmem_max = {self.receive_buffer}
"""


def _images_for_function(config: Config) -> int:
    """Return the shared memory of the images that wait for a user's function, bytes; 0 when only the PV says their size."""
    assert config.process
    layouts: list[FrameLayout] = []
    for source in config.sources_of(config.process.detector):
        if isinstance(source, UdpSection):
            layouts.append(source.geometry.layout)
        elif isinstance(source, PvaSection) and source.dtype and source.shape:
            layouts.append(FrameLayout(source.shape, source.dtype))
    image_bytes = sum(math.prod(layout.shape) * layout.pixel_type.itemsize for layout in layouts)
    return (config.process.workers + config.process.queue) * image_bytes
